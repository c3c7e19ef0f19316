"""NWPU-Refer (Yang et al., arXiv 2506.03583): a REFER pickle, a COCO instance file with polygons, JPEG images.

Several targets of an expression are several references of one image, text and split; their masks become a union.
References hold English and Chinese wordings; the English ones, of ASCII letters only, are read. How the files mark an
expression without a target is not published. An annotation with an empty `segmentation` is read as one; whatever else
names no annotation is reported.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SourceInfo
from rrsis_bench.data.masks import MaskError, canonical, encode
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.safe_pickle import load_plain
from rrsis_bench.data.sources.base import LayoutItem, ListedPair, MaskRead, Report
from rrsis_bench.data.sources.refer import ReferSource

FAKE_CATEGORIES = ("ship", "bridge", "storage tank")
"""Categories of made-up folders; the real ones stand in the instance file."""


class NWPURefer(ReferSource):
    """The NWPU-Refer folder."""

    name = "nwpurefer"
    refs = "new_refs(unc).p"
    instances = "new_instances.json"
    images = "image"
    info = SourceInfo(
        title="NWPU-Refer",
        paper="Yang et al., A Large-Scale Referring Remote Sensing Image Segmentation Dataset and Benchmark, 2025",
        where="https://github.com/CVer-Yang/NWPU-Refer (Baidu 1HzLVXSqk_m4zWWJ-EJ5SkA, code NWPU)",
        licence="none stated",
        layout=f"{refs}, {instances}, {images}/*.jpg",
        kind="benchmark",
    )

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up NWPU-Refer folder; `size` is the image side (1024 if None).

        In each split, two references share the expression of the second pair, and the last pair has no target.
        """
        fake.start_afresh(root)
        write_layout(root, list(fake.items(n_per_split, size or 1024, seed, FAKE_CATEGORIES, faults)))
        _plant(root, faults)

    def _wordings(self, sentences: Sequence[Any]) -> Sequence[Any]:
        """The English wordings; a sentence of another form stays, and is reported."""
        return [one for one in sentences if not isinstance(text := _text(one), str) or text.isascii()]

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        merged: dict[tuple[str, str, str], list[ListedPair]] = {}
        for pair in super()._scan(root, report):
            merged.setdefault((pair.image, pair.text, pair.split), []).append(pair)
        for pairs in merged.values():
            yield pairs[0] if len(pairs) == 1 else replace(pairs[0], mask=partial(_union, pairs))

    def _mask(self, segmentation: Any, image: Mapping[str, Any], size: tuple[int, int]) -> MaskRead:
        if segmentation == []:
            return MaskRead(encode(np.zeros(size, np.uint8)))
        return super()._mask(segmentation, image, size)


def _text(sentence: Any) -> Any:
    return sentence.get("raw", sentence.get("sent")) if isinstance(sentence, dict) else None


def _union(pairs: Sequence[ListedPair], size: tuple[int, int]) -> MaskRead:
    parts = [pair.mask(size).rle for pair in pairs]
    if len({tuple(part["size"]) for part in parts}) > 1:
        raise MaskError("references of one expression have masks of different sizes")
    return MaskRead(canonical(parts, *size))


def write_layout(root: Path, items: Sequence[LayoutItem]) -> None:
    """Write pairs as an NWPU-Refer folder: polygons, wordings in two languages, one reference for each target.

    Args:
        root: folder to write into.
        items: the pairs. The second one of a split becomes two targets, its upper and lower half. If a split has more
            than three pairs, the last one has no target.
    """
    refs: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    splits: dict[str, list[LayoutItem]] = {}
    for item in items:
        splits.setdefault(item.split, []).append(item)
    for split, own in splits.items():
        for place, item in enumerate(own):
            key = len(images) + 1
            height, width = item.image.shape[:2]
            images.append({"id": key, "file_name": f"{key}.jpg", "height": height, "width": width})
            write_image(root / NWPURefer.images / f"{key}.jpg", item.image)
            segmentations = [_polygons(item.mask)]
            if place == 1 and item.mask.any():
                rows = np.flatnonzero(item.mask.any(axis=1))
                upper = np.arange(height)[:, None] < rows[len(rows) // 2]
                segmentations = [_polygons(item.mask * upper), _polygons(item.mask * ~upper)]
            if place == len(own) - 1 and len(own) > 3:
                segmentations = [[]]
            for segmentation in segmentations:
                number = len(annotations) + 1
                category = FAKE_CATEGORIES.index(item.category) + 1
                annotations.append(
                    {"id": number, "image_id": key, "category_id": category, "segmentation": segmentation}
                )
                wordings = [{"raw": text, "sent": text} for text in (item.text, f"\u8239 {item.text}")]
                ref = {"ref_id": number, "ann_id": number, "image_id": key, "category_id": category, "split": split}
                refs.append({**ref, "file_name": f"{key}.jpg", "sentences": wordings})
    categories = [{"id": number, "name": name} for number, name in enumerate(FAKE_CATEGORIES, 1)]
    (root / NWPURefer.refs).write_bytes(pickle.dumps(refs, protocol=2))
    instances = {"images": images, "annotations": annotations, "categories": categories}
    (root / NWPURefer.instances).write_text(json.dumps(instances), encoding="utf-8")


def _polygons(mask: Any) -> list[list[int]]:
    contours, _ = cv2.findContours(np.ascontiguousarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # COCO's polygons are filled up to their corners, exclusive at the far side.
    return [_outward(contour.reshape(-1, 2)) for contour in contours if len(contour) > 2]


def _outward(corners: Any) -> list[int]:
    far = corners.max(axis=0)
    return (corners + (corners == far)).ravel().tolist()  # type: ignore[no-any-return]


def _plant(root: Path, faults: Sequence[str]) -> None:
    def path(key: int) -> Path:
        return root / NWPURefer.images / f"{key}.jpg"

    def annotate(changes: Mapping[str, Any]) -> None:
        file = root / NWPURefer.instances
        instances = json.loads(file.read_text(encoding="utf-8"))
        instances["annotations"][0] |= changes
        file.write_text(json.dumps(instances), encoding="utf-8")

    def refer(changes: Mapping[str, Any]) -> None:
        file = root / NWPURefer.refs
        refs = load_plain(file)
        refs[0] |= changes
        file.write_bytes(pickle.dumps(refs, protocol=2))

    fake.damage(
        faults,
        {
            "missing-image": lambda: path(2).unlink(),
            "corrupt-image": lambda: fake.cut_short(path(3)),
            "size-mismatch": lambda: write_image(path(1), np.ascontiguousarray(read_rgb(path(1))[::2, ::2])),
            "bad-polygon": lambda: annotate({"segmentation": [[1, 2, 3]]}),
            "unknown-id": lambda: refer({"ann_id": -1}),
            "chinese-only": lambda: refer({"sentences": [{"raw": "\u8239", "sent": "\u8239"}]}),
            "unknown-split": lambda: refer({"split": "testA"}),
            "corrupt-pickle": lambda: fake.cut_short(root / NWPURefer.refs),
            "corrupt-json": lambda: fake.cut_short(root / NWPURefer.instances),
        },
    )
