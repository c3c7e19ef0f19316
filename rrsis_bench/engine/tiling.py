"""Large images in overlapping tiles: where they lie, and how their logits are blended.

A method's input covers one tile. Logits, not masks, are averaged, under a window that falls smoothly from a tile's
middle to its rim, so that no seam shows.

Shape legend: `H W` pixels of the image, `h w` pixels of a tile, `N` tiles. `...` are any axes before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UsageError

AT_ONCE = 1 << 22  # pixels whose logits are given out at once
FLOOR = 1e-3  # a tile's rim still counts where no other tile covers it


@dataclass(frozen=True)
class TilePlan:
    """Tiles of one size that cover an image.

    Attributes:
        height: H.
        width: W.
        tile: (h, w).
        corners: (top, left) of each of the N tiles, row by row.
    """

    height: int
    width: int
    tile: tuple[int, int]
    corners: tuple[tuple[int, int], ...]

    def box(self, k: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the k-th tile."""
        return (*self.corners[k], *self.tile)


def plan(height: int, width: int, limit: int, overlap: float = 0.25) -> TilePlan:
    """Lay tiles over an image; one tile where the longer side is within the limit.

    Args:
        height: H in pixels.
        width: W in pixels.
        limit: longest side of a tile in pixels.
        overlap: least share of a tile's side that neighbours have in common, 0 to 0.9.

    Raises:
        UsageError: a limit under 16 pixels or an overlap outside 0..0.9.
    """
    if limit < 16:
        raise UsageError(f"--tile {limit} is too small: give at least 16 pixels.")
    if not 0 <= overlap <= 0.9:
        raise UsageError(f"--overlap {overlap:g} must lie between 0 and 0.9.")
    tile = (min(height, limit), min(width, limit))
    tops, lefts = (_starts(side, length, overlap) for side, length in zip((height, width), tile, strict=True))
    return TilePlan(height, width, tile, tuple((top, left) for top in tops for left in lefts))


def _starts(side: int, length: int, overlap: float) -> list[int]:
    """Evenly spaced starts, the first at 0 and the last ending at `side`."""
    if side <= length:
        return [0]
    step = max(1, int(length * (1 - overlap)))
    count = -(-(side - length) // step) + 1
    return [round(k * (side - length) / (count - 1)) for k in range(count)]


def window(height: int, width: int) -> NDArray[np.float32]:
    """Weights (h, w) of a tile's pixels: a squared sine over each side, never below a small floor."""
    rows, columns = (np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in (height, width))
    return np.maximum(np.outer(rows, columns), FLOOR).astype(np.float32)


def blend(layout: TilePlan, tiles: Iterable[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Weighted mean of tiles' logits, as soon as rows are finished: no more than a row of tiles is held.

    Args:
        layout: where the tiles lie.
        tiles: logits (..., h, w) of each tile, in the layout's order.

    Yields:
        top row and logits (..., rows, W), from the top of the image to its bottom.
    """
    height, width = layout.tile
    weights = window(height, width)
    total = weight = np.zeros((height, layout.width), np.float32)
    base = 0
    for (top, left), logits in zip(layout.corners, tiles, strict=True):
        if total is weight:
            total = np.zeros((*logits.shape[:-2], height, layout.width), np.float32)
        done = top - base
        if done:
            yield from _means(base, total[..., :done, :], weight[:done])
            for held in (total, weight):
                held[..., :-done, :] = held[..., done:, :]
                held[..., -done:, :] = 0
            base = top
        total[..., left : left + width] += logits * weights
        weight[:, left : left + width] += weights
    yield from _means(base, total, weight)


def _means(
    top: int, total: NDArray[np.float32], weight: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Weighted means of finished rows, some at once."""
    rows = max(1, AT_ONCE * len(weight) // total.size)
    for start in range(0, len(weight), rows):
        yield top + start, total[..., start : start + rows, :] / weight[start : start + rows]
