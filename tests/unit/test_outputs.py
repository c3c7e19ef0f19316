"""A mask at one bit a pixel, and names of predictions that no two inputs share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.engine.outputs import SUFFIXES, Destination
from rrsis_bench.errors import UsageError


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (300, 17), (16, 64), (33, 1000)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_bit_mask_is_the_mask(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(1).random(size) < share
    bits = BitMask(*size)
    for top in range(0, size[0], 5):
        bits.put(top, mask[top : top + 5])
    assert bits.area == int(mask.sum())
    assert (bits.array() == mask).all()
    rle = bits.rle()
    assert rle is not None
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert dict(rle) == {"size": list(size), "counts": theirs["counts"].decode()}
    assert (np.asarray(Image.open(io.BytesIO(bits.png()))) == mask * np.uint8(255)).all()
    joined = np.concatenate([rows for _, rows in bits.strips()])
    assert (joined == mask).all()


@pytest.mark.parametrize(("share", "found"), [(0.25, [[1, 1], [0, 0]]), (0.5, [[1, 0], [0, 0]])])
def test_a_coarser_grid_keeps_what_covers_more_than_a_share(share: float, found: list[list[int]]) -> None:
    mask = np.zeros((40, 60), bool)
    mask[:20, :45] = True  # all of the first cell, half of the second
    bits = BitMask(40, 60)
    bits.put(0, mask)
    assert bits.reduced(2, 2, share).tolist() == np.array(found, bool).tolist()


def test_no_two_inputs_share_a_name(tmp_path: Path) -> None:
    long = "the very long expression about a storage tank near the "
    texts = ["船", "飞机", "корабль", "", "!?", f"{long}harbour", f"{long}bridge", "Ship", "ship at 3", "ship-at-3"]
    images = [tmp_path / "a" / "scene.png", tmp_path / "b" / "scene.png", tmp_path / "a" / "scene.tif"]
    stems = {Destination.of(tmp_path, image, text).stem for image in images for text in texts}
    assert len(stems) == len(texts) * len(images)
    assert len({str(stem).lower() for stem in stems}) == len(stems), "a file system may ignore upper case"
    assert all(len((stem.name + max(SUFFIXES, key=len)).encode()) <= 255 for stem in stems)
    assert "船" in Destination.of(tmp_path, images[0], "船").stem.name
    assert Destination.of(tmp_path, images[0], "ship") == Destination.of(tmp_path, images[0], "ship")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_earlier_prediction_is_refused(tmp_path: Path, suffix: str) -> None:
    destination = Destination.of(tmp_path, Path("a.png"), "the ship")
    destination.refuse_present()
    destination.file(suffix).write_bytes(b"")
    with pytest.raises(UsageError, match="--overwrite"):
        destination.refuse_present()
