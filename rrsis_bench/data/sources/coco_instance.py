"""An instance of a COCO-format annotation, and how the grammar of expressions sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.sources.ids import Id
from rrsis_bench.data.synthetic.grammar import Thing

OUTLINE_POINTS = 64
"""Points of an instance's outline that are kept for measuring gaps, at most."""


@dataclass(frozen=True)
class Instance:
    """An annotation with a mask that could be decoded; `group` if it stands for several objects."""

    key: Id
    category: str
    rle: dict[str, Any]
    mask: NDArray[np.uint8] = field(repr=False)
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: bool = False

    @property
    def touches_border(self) -> bool:
        """Whether its box ends at the image's border."""
        height, width = self.mask.shape
        return self.box[0] == 0 or self.box[1] == 0 or self.box[2] == width or self.box[3] == height


def as_thing(instance: Instance, pixels: NDArray[np.uint8]) -> Thing:
    """The instance with its colour in an image (H, W, 3); the members of a group may have any colour."""
    import cv2

    from rrsis_bench.data.synthetic.colours import RANGES, name_colour

    mask = instance.mask
    colour, maybe = name_colour(pixels, mask) if pixels.shape[:2] == mask.shape else (None, frozenset())
    if instance.group:
        colour, maybe = None, frozenset(RANGES)
    x0, y0, x1, y1 = instance.box
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1])
    rows, columns = np.nonzero(crop)
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
    outline = np.concatenate(contours).reshape(-1, 2).astype(np.float32)
    return Thing(
        category=instance.category,
        colour=colour,
        area=float(len(rows)),
        box=instance.box,
        centre=(float(columns.mean()) + x0 + 0.5, float(rows.mean()) + y0 + 0.5),
        maybe=maybe,
        group=instance.group,
        outline=outline[:: -(-len(outline) // OUTLINE_POINTS)],
    )
