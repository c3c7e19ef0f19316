"""RRSIS-D (Liu et al., RMSIN, CVPR 2024): a REFER pickle, a COCO-like instance file, JPEG images of DIOR.

In copies of the data set `bbox` is x1,y1,x2,y2 (not used here) and `segmentation` a list with one compressed RLE.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SourceInfo
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.safe_pickle import load_plain
from rrsis_bench.data.sources.base import LayoutItem
from rrsis_bench.data.sources.refer import ReferSource

CATEGORIES = (
    "airplane", "airport", "golf field", "expressway service area", "baseball field", "stadium", "ground track field",
    "storage tank", "basketball court", "chimney", "tennis court", "overpass", "train station", "ship",
    "expressway toll station", "dam", "harbor", "bridge", "vehicle", "windmill",
)  # fmt: skip
REFS = "rrsisd/refs(unc).p"
INSTANCES = "rrsisd/instances.json"
IMAGES = "images/rrsisd/JPEGImages"


class RRSISD(ReferSource):
    """The RRSIS-D folder."""

    name = "rrsisd"
    info = SourceInfo(
        title="RRSIS-D",
        paper="Liu et al., Rotated Multi-Scale Interaction Network for Referring RS Image Segmentation, CVPR 2024",
        where="Google Drive folder 1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A (linked from github.com/Lsan2401/RMSIN)",
        licence="none stated; its DIOR images are CC BY-NC 4.0",
        layout=f"{REFS}, {INSTANCES}, {IMAGES}/00001.jpg ...",
        counts={"train": 12181, "val": 1740, "test": 3481},
        kind="benchmark",
        classes=CATEGORIES,
        drive="https://drive.google.com/drive/folders/1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A",
        drive_size="about 5 GB",
        drive_holds=(REFS, INSTANCES, IMAGES),
        steps=(
            "open https://drive.google.com/drive/folders/1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A (about 5 GB), or "
            "https://pan.baidu.com/s/1yZatV2w_bSXIP9QBv2lCrA with the code sjoe\n"
            "fetch refs(unc).p and instances.json into {root}/rrsisd\n"
            "fetch JPEGImages.zip and unpack it; the images are {root}/images/rrsisd/JPEGImages/00001.jpg and so on\n"
            "check: rrsis-bench data verify rrsisd"
        ),
        notes=(
            "Of the objects in an annotation file, only one has a mask.",
            "RISBench shares images of DIOR: who trains on one and tests on the other tests on training images.",
        ),
    )
    refs = REFS
    instances = INSTANCES
    images = IMAGES

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up RRSIS-D folder; `size` is the image side (800 as published)."""
        fake.start_afresh(root)
        write_layout(root, fake.items(n_per_split, size or 800, seed, CATEGORIES, faults))
        _plant(root, faults)


def write_layout(root: Path, items: Iterable[LayoutItem]) -> None:
    """Write pairs as an RRSIS-D folder, with the two surprises of the real one: bbox corners, listed RLE.

    Args:
        root: folder to write into.
        items: the pairs; consecutive items of one `image_key` share an image file.
    """
    refs: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: number for number, name in enumerate(CATEGORIES, 1)}
    key: str | None = None
    for number, item in enumerate(items, 1):
        height, width = item.image.shape[:2]
        if item.image_key != key:
            key = item.image_key
            images.append({"id": number, "file_name": f"{number:05d}.jpg", "height": height, "width": width})
            write_image(root / IMAGES / f"{number:05d}.jpg", item.image)
        image = images[-1]
        category = ids.setdefault(item.category, len(ids) + 1)
        rows, columns = np.nonzero(item.mask)
        box = (
            [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] if rows.size else [0] * 4
        )
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "area": int(rows.size),
                "segmentation": [encode(item.mask)],
            }
        )
        words = item.text.split()
        sentence = {"sent_id": number, "raw": item.text, "sent": item.text.lower(), "tokens": words}
        refs.append(
            {
                "ref_id": number,
                "ann_id": number,
                "image_id": image["id"],
                "category_id": category,
                "file_name": image["file_name"],
                "split": item.split,
                "sentences": [sentence],
                "sent_ids": [number],
            }
        )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    (root / REFS).parent.mkdir(parents=True, exist_ok=True)
    (root / REFS).write_bytes(pickle.dumps(refs, protocol=2))
    instances = {"images": images, "annotations": annotations, "categories": categories}
    (root / INSTANCES).write_text(json.dumps(instances), encoding="utf-8")


def _plant(root: Path, faults: Sequence[str]) -> None:
    def first_image(offset: int) -> Path:
        return sorted((root / IMAGES).iterdir())[offset]

    def crop() -> None:
        path = first_image(0)
        write_image(path, np.ascontiguousarray(read_rgb(path)[: -max(1, read_rgb(path).shape[0] // 60)]))

    def halve() -> None:
        path = first_image(0)
        write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

    def annotate(changes: Mapping[str, Any]) -> None:
        instances = json.loads((root / INSTANCES).read_text(encoding="utf-8"))
        instances["annotations"][0] |= changes
        (root / INSTANCES).write_text(json.dumps(instances), encoding="utf-8")

    def refer(changes: Mapping[str, Any]) -> None:
        refs = load_plain(root / REFS)
        refs[0] |= changes
        (root / REFS).write_bytes(pickle.dumps(refs, protocol=2))

    wrong_text = [{"sent_id": 1, "raw": b"a ship \xff\xfe", "sent": b"", "tokens": []}]
    broken = [{"size": [64, 64], "counts": "not an RLE!"}]
    fake.damage(
        faults,
        {
            "missing-image": lambda: first_image(1).unlink(),
            "corrupt-image": lambda: fake.cut_short(first_image(2)),
            "odd-size": crop,
            "size-mismatch": halve,
            "bad-rle": lambda: annotate({"segmentation": broken}),
            "unknown-id": lambda: refer({"ann_id": 10**6}),
            "unknown-image-id": lambda: refer({"image_id": 10**6}),
            "unknown-split": lambda: refer({"split": "testA"}),
            "non-utf8": lambda: refer({"sentences": wrong_text}),
            "hostile-pickle": lambda: _hostile(root / REFS, root / "harmed"),
            "corrupt-pickle": lambda: fake.cut_short(root / REFS),
            "corrupt-json": lambda: fake.cut_short(root / INSTANCES),
        },
    )


def _hostile(path: Path, harmed: Path) -> None:
    """A pickle that makes a folder when a plain unpickler reads it."""
    target = str(harmed).encode("utf-8")
    path.write_bytes(b"cos\nmkdir\n(V" + target + b"\ntR.")
