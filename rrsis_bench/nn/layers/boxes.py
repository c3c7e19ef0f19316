"""Boxes as tensors: forms, overlaps, and the box round a mask.

`cxcywh` is centre and size, `xyxy` is left, top, right and bottom; the edges are half open. Units are the caller's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to both parts of each ratio, as in DETR's descendants for degenerate boxes."""

Components = Literal["hull", "largest"]
"""Which parts of a mask its box holds: all of them, or the largest 8-connected one."""


def to_xyxy(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) from cxcywh to xyxy."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), -1)


def to_cxcywh(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) from xyxy to cxcywh."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


def overlaps(first: Tensor, second: Tensor, epsilon: float = EPSILON) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., CVPR 2019) of boxes (..., 4) xyxy, pair by pair; shapes broadcast.

    Args:
        first: boxes.
        second: boxes.
        epsilon: added to both parts of each ratio, for boxes without an area.

    Returns:
        (...) each.
    """
    inner = _area(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - inner
    hull = _area(torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:]))
    iou = (inner + epsilon) / (union + epsilon)
    return iou, iou - (hull - union + epsilon) / (hull + epsilon)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(-1)


def boxes_of_masks(
    masks: Tensor, components: Components = "hull", dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The box round each mask, without waiting for the device unless `largest` is asked for.

    Args:
        masks: (B, H, W) in {0, 1}.
        components: which parts of a mask count.
        dtype: of the boxes.

    Returns:
        boxes (B, 4) xyxy in [0, 1], half open, zero for an empty mask; and (B,) bool, False for such a mask.
    """
    if components == "largest":
        masks = torch.from_numpy(np.stack([_largest(mask) for mask in masks.cpu().numpy()])).to(masks.device)
    masks = masks > 0
    height, width = masks.shape[-2:]
    sides = []
    for present, length in ((masks.any(-2), width), (masks.any(-1), height)):
        place = torch.arange(length, device=masks.device)
        first = torch.where(present, place, length).amin(-1)
        last = torch.where(present, place + 1, 0).amax(-1)
        sides.append((first.to(dtype) / length, last.to(dtype) / length))
    (left, right), (top, bottom) = sides
    valid = masks.flatten(1).any(-1)
    boxes = torch.stack((left, top, right, bottom), -1)
    return torch.where(valid[:, None], boxes, 0.0), valid


def _largest(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, np.uint8), connectivity=8)
    if count < 2:
        return mask
    kept: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    ).astype(np.uint8)
    return kept
