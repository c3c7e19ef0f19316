"""RISBench (Dong et al., CroBIM, arXiv 2410.08613): line files that keep the suffix, PNG images and masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rrsis_bench.data.info import SourceInfo
from rrsis_bench.data.sources.base import LayoutItem
from rrsis_bench.data.sources.lines import LineSource

CATEGORIES = (
    "soccer ball field", "baseball diamond", "train station", "golf field", "airport", "harbor", "dam", "ship",
    "helipad", "vehicle", "chimney", "airplane", "helicopter", "tennis court", "storage tank", "swimming pool",
    "expressway service area", "expressway toll station", "ground track field", "basketball court", "container crane",
    "roundabout", "windmill", "overpass", "stadium", "bridge",
)  # fmt: skip
SYNONYMS = {
    "plane": "airplane", "aircraft": "airplane", "baseball field": "baseball diamond",
    "soccer field": "soccer ball field", "golf course": "golf field", "golffield": "golf field",
    "trainstation": "train station", "service area": "expressway service area",
    "toll station": "expressway toll station",
    "boat": "ship", "vessel": "ship", "car": "vehicle", "truck": "vehicle", "wind mill": "windmill",
    "wind turbine": "windmill", "track field": "ground track field", "harbour": "harbor", "pool": "swimming pool",
    "baseball court": "baseball diamond",
}  # fmt: skip


class RISBench(LineSource):
    """The RISBench folder in its line-file form."""

    name = "risbench"
    info = SourceInfo(
        title="RISBench",
        paper="Dong et al., Cross-Modal Bidirectional Interaction Model for Referring RS Image Segmentation, 2024",
        where="https://github.com/HIT-SIRS/CroBIM (Baidu 1TniZrKqa2BBGvZ5sJAnsAw, code wnxg)",
        licence="CC BY 4.0 by its README; its DIOR images are CC BY-NC 4.0, its DOTA images for academic use only",
        layout="img_rgb/<name>.png, mask/<name>.png, output_phrase_{train,val,test}.txt; or a parquet or arrow copy",
        counts={"train": 26300, "val": 10013, "test": 16159},
        kind="benchmark",
        classes=CATEGORIES,
        steps=(
            "open https://pan.baidu.com/s/1TniZrKqa2BBGvZ5sJAnsAw with the code wnxg, and fetch all files\n"
            "unpack them; {root} must hold img_rgb/, mask/ and output_phrase_{train,val,test}.txt\n"
            "or name a parquet or arrow copy on the Hugging Face hub: "
            "rrsis-bench data fetch risbench --repo OWNER/NAME\n"
            "check: rrsis-bench data verify risbench"
        ),
        notes=(
            "It is reported to hold samples with all-black masks; `data verify` counts them.",
            "RRSIS-D shares images of DIOR: who trains on one and tests on the other tests on training images.",
        ),
    )
    images = "img_rgb"
    masks = "mask"
    suffix = ".png"
    threshold = 0
    synonyms = SYNONYMS
    name_suffix = True

    def file_name(self, number: int, split: str) -> str:
        """As published, the name begins with the split."""
        return f"{split}_{number}_0.png"


def write_layout(root: Path, items: Iterable[LayoutItem]) -> None:
    """Write pairs as a RISBench folder."""
    RISBench().write_layout(root, items)
