"""RefSegRS (Yuan, Mou, Hua, Zhu, TGRS 2024): line files, TIFF images and masks, one image copy a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rrsis_bench.data.info import SourceInfo
from rrsis_bench.data.sources.base import LayoutItem
from rrsis_bench.data.sources.lines import LineSource

CATEGORIES = (
    "road", "vehicle", "car", "van", "building", "truck", "trailer", "bus", "road marking", "bikeway", "sidewalk",
    "tree", "low vegetation", "impervious surface",
)  # fmt: skip


class RefSegRS(LineSource):
    """The RefSegRS folder. Copies of a photograph are found by their pixels, since every line has its own file."""

    name = "refsegrs"
    info = SourceInfo(
        title="RefSegRS",
        paper="Yuan, Mou, Hua, Zhu, RRSIS: Referring Remote Sensing Image Segmentation, TGRS 2024",
        where="https://huggingface.co/datasets/JessicaYuan/RefSegRS (RefSegRS.zip, 2.97 GB)",
        licence="CC BY 4.0",
        layout="images/<id>.tif, masks/<id>.tif, output_phrase_{train,val,test}.txt; or a parquet or arrow copy",
        counts={"train": 2172, "val": 431, "test": 1817},
        kind="benchmark",
        classes=CATEGORIES,
        hub="JessicaYuan/RefSegRS",
        notes=(
            "Each expression has its own copy of the photograph.",
            "The val ids 4497, 1489 and 25 are one photograph and one mask with three texts.",
        ),
    )
    images = "images"
    masks = "masks"
    suffix = ".tif"
    threshold = 127
    name_suffix = False


def write_layout(root: Path, items: Iterable[LayoutItem]) -> None:
    """Write pairs as a RefSegRS folder."""
    RefSegRS().write_layout(root, items)
