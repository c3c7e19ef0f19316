"""Tiles cover an image, and their blended logits show no seam."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from rrsis_bench.engine.tiling import TilePlan, blend, plan, window
from rrsis_bench.errors import UsageError


def blended(layout: TilePlan, tiles: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The whole field, from strips that must follow each other without gap or overlap."""
    strips, below = [], 0
    for top, rows in blend(layout, tiles):
        assert top == below
        strips.append(rows.copy())
        below += len(rows)
    assert below == layout.height
    return np.concatenate(strips)


@pytest.mark.parametrize("size", [(100, 100), (101, 350), (350, 64), (1000, 257), (64, 64), (1, 500)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_cover_every_pixel_and_stay_inside(size: tuple[int, int], overlap: float) -> None:
    layout = plan(*size, 100, overlap)
    seen = np.zeros(size, dtype=int)
    for k in range(len(layout.corners)):
        top, left, height, width = layout.box(k)
        assert (height, width) == layout.tile
        assert 0 <= top <= size[0] - height
        assert 0 <= left <= size[1] - width
        seen[top : top + height, left : left + width] += 1
    assert seen.min() >= 1


def test_an_image_within_the_limit_is_one_tile() -> None:
    assert plan(99, 100, 100).corners == ((0, 0),)


def test_neighbours_overlap_at_least_as_asked() -> None:
    lefts = sorted({left for _, left in plan(100, 777, 100, 0.25).corners})
    assert all(b - a <= 75 for a, b in pairwise(lefts))


@pytest.mark.parametrize("size", [(210, 330), (100, 100), (950, 120)])
def test_blending_tiles_of_one_field_gives_the_field_back(size: tuple[int, int]) -> None:
    field = np.add.outer(np.sin(np.arange(size[0]) / 20), np.arange(size[1]) / 100).astype(np.float32)
    layout = plan(*size, 100, 0.3)
    tiles = (
        field[top : top + height, left : left + width]
        for top, left, height, width in map(layout.box, range(len(layout.corners)))
    )
    assert np.abs(blended(layout, tiles) - field).max() < 1e-5


def test_blending_is_the_weighted_mean_of_all_tiles() -> None:
    layout = plan(230, 170, 100, 0.4)
    rng = np.random.default_rng(0)
    tiles = [rng.normal(size=layout.tile).astype(np.float32) for _ in layout.corners]
    total, weight, weights = np.zeros((230, 170)), np.zeros((230, 170)), window(*layout.tile)
    for (top, left), logits in zip(layout.corners, tiles, strict=True):
        total[top : top + 100, left : left + 100] += logits * weights
        weight[top : top + 100, left : left + 100] += weights
    assert np.abs(blended(layout, tiles) - total / weight).max() < 1e-5


def test_disagreeing_tiles_meet_without_a_seam() -> None:
    layout = plan(100, 150, 100, 0.5)
    tiles = [np.full(layout.tile, value, dtype=np.float32) for value in (-1.0, 1.0)]
    row = blended(layout, tiles)[50]
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
