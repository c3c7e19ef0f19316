"""The name of an object's colour in a photograph, where the colour is clear.

A name is given only where the median pixel lies well inside its range and most pixels lie in the wider one. Every other
name whose wider range holds the median or a fair share of the pixels is a "maybe": somebody might use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CLEAR_SHARE = 0.5
"""Share of an object's pixels that must lie in a colour's wide range for the colour to be clear."""
MAYBE_SHARE = 0.25
"""Share of pixels in a colour's wide range from which on somebody might use the name."""


@dataclass(frozen=True)
class Range:
    """A box in OpenCV's HSV (hue 0-179, saturation and value 0-255), ends inclusive; hue may wrap (low > high)."""

    hue: tuple[int, int]
    saturation: tuple[int, int]
    value: tuple[int, int]

    def holds(self, hsv: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of (N, 3) pixels lie inside, as (N,)."""
        hue, saturation, value = hsv[:, 0], hsv[:, 1], hsv[:, 2]
        low, high = self.hue
        in_hue = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
        in_saturation = (saturation >= self.saturation[0]) & (saturation <= self.saturation[1])
        inside: NDArray[np.bool_] = in_hue & in_saturation & (value >= self.value[0]) & (value <= self.value[1])
        return inside


_ANY = (0, 179)
RANGES: dict[str, tuple[Range, Range]] = {
    "white": (Range(_ANY, (0, 30), (195, 255)), Range(_ANY, (0, 50), (160, 255))),
    "grey": (Range(_ANY, (0, 35), (85, 150)), Range(_ANY, (0, 62), (60, 190))),
    "black": (Range(_ANY, (0, 255), (0, 45)), Range(_ANY, (0, 255), (0, 75))),
    "red": (Range((172, 6), (115, 255), (90, 255)), Range((165, 12), (70, 255), (55, 255))),
    "brown": (Range((6, 19), (75, 190), (55, 150)), Range((2, 25), (42, 255), (40, 185))),
    "orange": (Range((7, 17), (140, 255), (175, 255)), Range((4, 22), (90, 255), (140, 255))),
    "yellow": (Range((22, 33), (100, 255), (150, 255)), Range((18, 38), (55, 255), (110, 255))),
    "green": (Range((38, 82), (70, 255), (50, 255)), Range((32, 92), (38, 255), (38, 255))),
    "blue": (Range((92, 125), (115, 255), (110, 255)), Range((84, 134), (42, 255), (42, 255))),
}
"""Name -> (narrow, wide) range."""


def name_colour(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[str | None, frozenset[str]]:
    """The colour of an object, if it is clear, and the others somebody might name.

    The rim of the mask, where object and ground mix, is left out as far as the object is large enough for it.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 in {0, 1}.
    """
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8))
    pixels = image[inner > 0] if inner.sum() >= 0.4 * mask.sum() else image[mask > 0]
    if not len(pixels):
        return None, frozenset()
    median = np.median(pixels, axis=0).astype(np.uint8)
    both = cv2.cvtColor(np.concatenate([median[None], pixels])[None], cv2.COLOR_RGB2HSV)[0]
    clear: str | None = None
    maybe: set[str] = set()
    for name, (narrow, wide) in RANGES.items():
        share = float(wide.holds(both[1:]).mean())
        if narrow.holds(both[:1])[0] and share >= CLEAR_SHARE:
            clear = name
        elif wide.holds(both[:1])[0] or share >= MAYBE_SHARE:
            maybe.add(name)
    return clear, frozenset(maybe)
