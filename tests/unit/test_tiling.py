from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rrsis_bench.engine.tiling import Blend, plan, window
from rrsis_bench.errors import UsageError


@pytest.mark.parametrize("size", [(100, 100), (101, 350), (350, 64), (1000, 257), (64, 64), (1, 500)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_cover_every_pixel_and_stay_inside(size: tuple[int, int], overlap: float) -> None:
    layout = plan(*size, 100, overlap)
    seen = np.zeros(size, dtype=int)
    image = np.zeros((*size, 3), dtype=np.uint8)
    for k, (top, left) in enumerate(layout.corners):
        assert layout.crop(image, k).shape == (*layout.tile, 3)
        seen[top : top + layout.tile[0], left : left + layout.tile[1]] += 1
    assert seen.min() >= 1


def test_an_image_within_the_limit_is_one_tile() -> None:
    assert plan(99, 100, 100).corners == ((0, 0),)


def test_neighbours_overlap_at_least_as_asked() -> None:
    lefts = sorted({left for _, left in plan(100, 777, 100, 0.25).corners})
    assert all(b - a <= 75 for a, b in pairwise(lefts))


def test_blending_tiles_of_one_field_gives_the_field_back() -> None:
    field = np.add.outer(np.sin(np.arange(210) / 20), np.arange(330) / 100).astype(np.float32)
    layout = plan(210, 330, 100, 0.3)
    blend = Blend(layout)
    for k, (top, left) in enumerate(layout.corners):
        blend.add(k, field[top : top + 100, left : left + 100])
    assert np.abs(blend.logits() - field).max() < 1e-5


def test_disagreeing_tiles_meet_without_a_seam() -> None:
    layout = plan(100, 150, 100, 0.5)
    blend = Blend(layout)
    for k, value in enumerate((-1.0, 1.0)):
        blend.add(k, np.full(layout.tile, value, dtype=np.float32))
    row = blend.logits()[50]
    assert row[0] == -1
    assert row[-1] == 1
    assert np.abs(np.diff(row)).max() < 0.1


def test_window_is_positive_and_highest_in_the_middle() -> None:
    weights = window(20, 30)
    assert weights.min() > 0
    assert np.unravel_index(weights.argmax(), weights.shape) in {(9, 14), (9, 15), (10, 14), (10, 15)}


@pytest.mark.parametrize(("limit", "overlap"), [(8, 0.2), (100, -0.1), (100, 0.95)])
def test_settings_that_make_no_sense(limit: int, overlap: float) -> None:
    with pytest.raises(UsageError):
        plan(100, 100, limit, overlap)
