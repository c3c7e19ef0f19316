"""Large images in overlapping tiles: where they lie, and how their logits are blended.

A method's input covers one tile. Logits, not masks, are averaged, under a window that falls smoothly from a tile's
middle to its rim, so that no seam shows.

Shape legend: `H W` pixels of the scene, `h w` pixels of a tile, `N` tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UsageError

FLOOR = 1e-3  # a tile's rim still counts where no other tile covers it


@dataclass(frozen=True)
class Plan:
    """Tiles of one size that cover a scene.

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

    def crop(self, image: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
        """The k-th tile (h, w, 3) of a scene (H, W, 3), a view."""
        top, left = self.corners[k]
        return image[top : top + self.tile[0], left : left + self.tile[1]]


def plan(height: int, width: int, limit: int, overlap: float = 0.25) -> Plan:
    """Lay tiles over a scene; one tile where the longer side is within the limit.

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
    return Plan(height, width, tile, tuple((top, left) for top in tops for left in lefts))


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


class Blend:
    """Weighted mean of tiles' logits.

    Args:
        layout: where the tiles lie.
    """

    def __init__(self, layout: Plan) -> None:
        self.layout = layout
        self._sum = np.zeros((layout.height, layout.width), dtype=np.float32)
        self._weight = np.zeros((layout.height, layout.width), dtype=np.float32)
        self._window = window(*layout.tile)

    def add(self, k: int, logits: NDArray[np.float32]) -> None:
        """Add the logits (h, w) of the k-th tile."""
        top, left = self.layout.corners[k]
        place = (slice(top, top + self.layout.tile[0]), slice(left, left + self.layout.tile[1]))
        self._sum[place] += logits * self._window
        self._weight[place] += self._window

    def logits(self) -> NDArray[np.float32]:
        """Logits (H, W) of the scene."""
        blended: NDArray[np.float32] = self._sum / self._weight
        return blended
