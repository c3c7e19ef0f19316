"""A mask of any size at one bit a pixel, filled from the top, and the forms it is written in.

Shape legend: `H W` pixels of the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data import masks
from rrsis_bench.data.pixels import grey_png

_STRIP_PIXELS = 1 << 24
"""About so many pixels are unpacked at once."""


class BitMask:
    """Foreground pixels of an image.

    Attributes:
        height: H.
        width: W.
        area: number of foreground pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        """An empty mask.

        Args:
            height: H.
            width: W.
        """
        self.height, self.width, self.area = height, width, 0
        self._bits = np.zeros((height, -(-width // 8)), np.uint8)

    def put(self, top: int, rows: NDArray[np.bool_]) -> None:
        """Set rows (h, W), each once, from a row on."""
        self._bits[top : top + len(rows)] = np.packbits(rows, axis=1)
        self.area += int(np.count_nonzero(rows))

    def rows(self, top: int, height: int) -> NDArray[np.uint8]:
        """Rows (height, W) in {0, 1}."""
        return np.unpackbits(self._bits[top : top + height], axis=1, count=self.width)

    def array(self) -> NDArray[np.uint8]:
        """The whole mask (H, W) in {0, 1}, at one byte a pixel."""
        return self.rows(0, self.height)

    def strips(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Top row and rows (h, W) in {0, 1}, in strips of a multiple of 256 rows, from the top."""
        rows = max(1, _STRIP_PIXELS // self.width // 256) * 256
        for top in range(0, self.height, rows):
            yield top, self.rows(top, min(rows, self.height - top))

    def rle(self) -> masks.Rle | None:
        """COCO RLE; None for 2^32 pixels and more, which its tools cannot count."""
        if self.height * self.width >= 1 << 32:
            return None
        return masks.from_runs(self.height, self.width, self._runs())

    def png(self) -> bytes:
        """A PNG of one 8-bit channel, 255 in the foreground."""
        return grey_png(self.height, self.width, (rows * np.uint8(255) for _, rows in self.strips()))

    def reduced(self, height: int, width: int, share: float) -> NDArray[np.bool_]:
        """A grid (height, width) no finer than the mask: where more than a share of a cell is foreground."""
        left = np.arange(width) * self.width // width
        columns = np.diff(np.append(left, self.width))
        top = np.arange(height + 1) * self.height // height
        cells = np.empty((height, width), np.bool_)
        for row in range(height):
            rows = int(top[row + 1] - top[row])
            counts = np.add.reduceat(self.rows(int(top[row]), rows).sum(axis=0, dtype=np.int64), left)
            cells[row] = counts > share * rows * columns
        return cells

    def _runs(self) -> NDArray[np.int64]:
        """Lengths of background and foreground in turn, down the columns, background first."""
        step = max(1, _STRIP_PIXELS // self.height // 8)
        changes, last, done = [np.zeros(1, np.int64)], np.zeros(1, np.uint8), 0
        for start in range(0, self._bits.shape[1], step):
            columns = min(8 * step, self.width - 8 * start)
            flat = np.unpackbits(self._bits[:, start : start + step], axis=1, count=columns).T.ravel()
            changes.append(np.flatnonzero(np.diff(flat, prepend=last)) + done)
            last, done = flat[-1:], done + flat.size
        return np.diff(np.concatenate([*changes, np.array([done])]))


@dataclass(frozen=True)
class Prediction:
    """What a method makes of an image and an expression.

    Attributes:
        bits: the mask (H, W).
        mean_probability: mean foreground probability inside the mask; None where the mask is empty.
        threshold: a pixel is foreground where its probability is greater.
        tiles: number of tiles.
        truncated: whether the expression has more tokens than the method reads.
        box: left, top, right, bottom in pixels of the box that the method found first; None for a method without
            boxes and for an image of several tiles.
    """

    bits: BitMask
    mean_probability: float | None
    threshold: float
    tiles: int
    truncated: bool
    box: tuple[float, float, float, float] | None = None

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The mask (H, W) in {0, 1}, at one byte a pixel."""
        return self.bits.array()
