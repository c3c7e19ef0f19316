"""Made-up pairs in any layout, and the faults a real copy may have, planted one by one.

A picture or an expression can carry a fault (`ITEM_FAULTS`); each source plants the faults of its files after writing
(`damage`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.sources.base import LayoutItem
from rrsis_bench.errors import UsageError, did_you_mean

ITEM_FAULTS = ("empty-mask", "full-mask", "duplicate", "leak", "empty-text", "grey")
"""Faults of the pairs themselves; `grey` (a picture without colour) is legal and must be read."""


def items(
    n_per_split: int, size: int, seed: int, categories: Sequence[str], faults: Sequence[str] = ()
) -> Iterator[LayoutItem]:
    """Pairs for all three splits: a bright rectangle on noise, named by category and side.

    Args:
        n_per_split: pairs in each split (at least 4 when faults are planted).
        size: image side in pixels.
        seed: the same seed gives the same pairs.
        categories: class names to draw from.
        faults: those of `ITEM_FAULTS` to plant; others are ignored here.
    """
    rng = np.random.default_rng(seed)
    first: dict[str, LayoutItem] = {}
    for split in SPLITS:
        for index in range(n_per_split):
            image = rng.integers(0, 200, (size // 8 + 1, size // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            image = np.ascontiguousarray(image[:size, :size])
            image += rng.integers(0, 16, image.shape, np.uint8)
            mask = np.zeros((size, size), np.uint8)
            height, width = rng.integers(size // 8, size // 2, 2)
            top, left = rng.integers(0, size - height), rng.integers(0, size - width)
            mask[top : top + height, left : left + width] = 1
            image[mask == 1] = 255
            category = str(rng.choice(list(categories)))
            side = "left" if left + width / 2 < size / 2 else "right"
            item = LayoutItem(
                split, image, mask, f"{category} number {index} on the {side}", category, f"{split}{index}"
            )
            first.setdefault(split, item)
            yield _with_fault(item, index, first, faults)


def _with_fault(item: LayoutItem, index: int, first: Mapping[str, LayoutItem], faults: Sequence[str]) -> LayoutItem:
    if item.split == "val" and index == 0 and "leak" in faults:
        return replace(item, image=first["train"].image)
    if item.split != "train":
        return item
    if index == 0 and "grey" in faults:
        return replace(item, image=np.repeat(item.image[..., :1], 3, axis=2))
    if index == 1 and "empty-mask" in faults:
        return replace(item, mask=np.zeros_like(item.mask))
    if index == 2 and "full-mask" in faults:
        return replace(item, mask=np.ones_like(item.mask))
    if index == 3 and "duplicate" in faults:
        return replace(first["train"], image_key=item.image_key)
    if index == 3 and "empty-text" in faults:
        return replace(item, text="")
    return item


def damage(faults: Sequence[str], planters: Mapping[str, Callable[[], object]]) -> None:
    """Plant the faults of files.

    Args:
        faults: names of the faults to plant.
        planters: fault -> function that plants it in this layout.

    Raises:
        UsageError: a fault this layout does not know.
    """
    for fault in faults:
        if fault in planters:
            planters[fault]()
        elif fault not in ITEM_FAULTS:
            raise UsageError(f"unknown fault '{fault}'.{did_you_mean(fault, [*ITEM_FAULTS, *planters])}")


def cut_short(path: Path) -> None:
    """Keep the first half of a file, as an interrupted download does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def start_afresh(root: Path) -> None:
    """Make an empty folder to write into; remove what was there."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
