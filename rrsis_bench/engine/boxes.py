"""Boxes of methods that find a box before a mask: their score in evaluation, and their place in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rrsis_bench.nn.layers.boxes import boxes_of_masks, overlaps
from rrsis_bench.types import Batch

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of an image; the edges are half open."""


def box_scores(aux: Mapping[str, Any], batch: Batch) -> tuple[dict[str, Tensor], int]:
    """Score the boxes of a method's output by the boxes round the truth masks at input size.

    Args:
        aux: of the output; `boxes` (B, 4) xyxy in [0, 1], or no such entry.
        batch: with its truth.

    Returns:
        means by name: `box_iou`, and `box_acc50`, the share of boxes with an IoU above one half; and the number of
        samples behind them, which are those with a truth. Empty for a method without boxes.
    """
    found = aux.get("boxes")
    if not isinstance(found, Tensor):
        return {}, 0
    truths, valid = boxes_of_masks(batch.masks)
    iou, _ = overlaps(found.float(), truths.to(found.device))
    count = valid.sum().clamp(min=1)
    means = {"box_iou": (iou * valid).sum() / count, "box_acc50": ((iou > 0.5) & valid).sum() / count}
    return means, int(valid.sum())


def in_pixels(box: Tensor, height: int, width: int) -> Box:
    """A box (4,) xyxy in [0, 1] in pixels of an image, cut to it."""
    left, top, right, bottom = box.float().clamp(0, 1).tolist()
    return left * width, top * height, right * width, bottom * height
