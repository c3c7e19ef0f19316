"""Writes drawn scenes as a COCO-format data set, with faults by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.synthetic.drawing import SHAPES
from rrsis_bench.data.synthetic.scenes import sample_scenes, seed_range
from rrsis_bench.errors import UsageError

SIDE = 128
"""Image side in pixels."""


def write_fake(
    root: Path,
    n_per_split: int,
    seed: int,
    faults: Sequence[str] = (),
    images: str = "images",
    annotations: str = "instances.json",
    splits: str = "splits.json",
    group: str = "stem",
) -> None:
    """Write scenes as COCO instances: RLE strings, RLE lists and polygons in turn, one photograph per image.

    Args:
        root: folder to write into.
        n_per_split: scenes of each split; nearly all of their objects get an expression.
        seed: draws the scenes.
        faults: named as the checks that find them; the k-th fault spoils the k-th training image.
        images: image folder below the root.
        annotations: annotation file below the root.
        splits: split file below the root.
        group: what names an image's photograph, as the source's option of that name.

    Raises:
        UsageError: an unknown fault, or more faults than training images.
    """
    if len(faults) > n_per_split:
        raise UsageError(f"{len(faults)} faults need as many scenes in a split, not {n_per_split}.")
    listing: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)],
    }
    photos: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for scene in sample_scenes(seed_range(split, seed)[:n_per_split], SIDE):
            key = len(listing["images"]) + 1
            file = f"p{key:04d}_0000.png"
            photo = _photo(file, group)
            photos[split].append(photo)
            write_image(root / images / file, scene.image)
            named = {} if group in ("stem", "before-underscore") else {group: photo}
            listing["images"].append({"id": key, "file_name": file, "width": SIDE, "height": SIDE, **named})
            for thing in scene.objects:
                number = len(listing["annotations"]) + 1
                listing["annotations"].append(
                    {
                        "id": number,
                        "image_id": key,
                        "category_id": list(SHAPES).index(thing.category) + 1,
                        "bbox": [thing.box[0], thing.box[1], thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]],
                        "area": int(thing.area),
                        "iscrowd": 0,
                        "segmentation": _segmentation(thing.mask, number),
                    }
                )
    for number, fault in enumerate(faults):
        image = listing["images"][number]
        _spoil(fault, listing, photos, image, root / images, _photo(image["file_name"], group))
    for name, content in ((annotations, listing), (splits, photos)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content), encoding="utf-8")


def _photo(file: str, group: str) -> str:
    stem = file.removesuffix(".png")
    return stem if group == "stem" else stem.partition("_")[0]


def _segmentation(mask: NDArray[np.uint8], number: int) -> Any:
    """A mask as a compressed RLE, an uncompressed one, or polygons, by turns."""
    if number % 3 == 0:
        return encode(mask)
    if number % 3 == 1:
        flat = mask.ravel(order="F")
        steps = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff(np.concatenate([[0], steps, [flat.size]])).tolist()
        return {"size": list(mask.shape), "counts": runs if flat[0] == 0 else [0, *runs]}
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [contour.ravel().tolist() for contour in contours if len(contour) > 2]


def _spoil(
    fault: str,
    listing: dict[str, list[dict[str, Any]]],
    photos: dict[str, list[str]],
    image: dict[str, Any],
    folder: Path,
    photo: str,
) -> None:
    file = folder / image["file_name"]
    own = next(annotation for annotation in listing["annotations"] if annotation["image_id"] == image["id"])

    def segment(rows: int, columns: int, counts: Any) -> None:
        own["segmentation"] = {"size": [rows, columns], "counts": counts}

    def leak() -> None:
        other = next(entry for entry in listing["images"] if entry["file_name"].startswith(photos["test"][0]))
        write_image(folder / other["file_name"], read_rgb(file))

    fake.damage(
        [fault],
        {
            "missing-image": file.unlink,
            "corrupt-image": lambda: fake.cut_short(file),
            "corrupt-mask": lambda: segment(SIDE, SIDE, "not an RLE"),
            "empty-mask": lambda: segment(SIDE, SIDE, [SIDE * SIDE]),
            "size-mismatch": lambda: segment(SIDE, SIDE // 2, [SIDE, SIDE * (SIDE // 2 - 1)]),
            "unknown-id": lambda: own.update(category_id=9999),
            "unlisted": lambda: photos["train"].remove(photo),
            "format": lambda: photos["val"].append(photo),
            "leak": leak,
        },
    )
