"""What reads an image, whatever its file: pixels as 8-bit RGB, whole or by windows."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.errors import RefusedImageError

Window = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""

LIMIT = 1 << 28
"""Most pixels that are decoded at once: 16,384 x 16,384, 0.8 GB as RGB."""


class Note(NamedTuple):
    """What a user should know of how an image was read.

    Attributes:
        check: the finding of `data verify` that it is; "" where it is none.
        message: a sentence without a full stop.
    """

    check: str
    message: str


class ImageReader(Protocol):
    """An open image.

    Attributes:
        height: H.
        width: W.
        notes: what a user should know of how it is read.
        applied: the parts of the rule that made a difference, as `PixelRule.from_config` reads them.
    """

    height: int
    width: int
    notes: tuple[Note, ...]
    applied: Mapping[str, Any]

    def read(self, window: Window | None = None) -> NDArray[np.uint8]:
        """A window (h, w, 3) uint8 RGB that lies inside the image, or the whole image.

        Raises:
            ImageError: damaged; or the whole is larger than is decoded at once.
        """

    def reduced(self, height: int, width: int) -> NDArray[np.uint8]:
        """The whole image, averaged down to (height, width, 3) uint8 RGB. Raises as `read`."""

    def close(self) -> None:
        """Let the file go."""

    def __enter__(self) -> ImageReader:
        """The reader itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


class DecodedImage:
    """An image in memory; see `ImageReader`."""

    def __init__(
        self, pixels: NDArray[np.uint8], notes: tuple[Note, ...] = (), applied: Mapping[str, Any] | None = None
    ) -> None:
        """Keep what was decoded.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            notes: see `ImageReader`.
            applied: likewise.
        """
        self._pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.notes = notes
        self.applied: Mapping[str, Any] = applied or {}

    def read(self, window: Window | None = None) -> NDArray[np.uint8]:
        """The pixels, or a view of a window of them."""
        if window is None:
            return self._pixels
        top, left, height, width = window
        return self._pixels[top : top + height, left : left + width]

    def reduced(self, height: int, width: int) -> NDArray[np.uint8]:
        """Area averages (height, width, 3)."""
        shrunk: NDArray[np.uint8] = cv2.resize(self._pixels, (width, height), interpolation=cv2.INTER_AREA)
        return shrunk

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> DecodedImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refuse_large(height: int, width: int, remedy: str) -> None:
    """Stop before an image is decoded that is too large for it.

    Args:
        height: in pixels.
        width: in pixels.
        remedy: what the user can do.

    Raises:
        RefusedImageError: more pixels than `LIMIT`.
    """
    if height * width > LIMIT:
        raise RefusedImageError(
            f"image of {width:,} x {height:,} pixels is larger than the {LIMIT:,} that are decoded at once; {remedy}"
        )
