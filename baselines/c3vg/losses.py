"""C3VG's losses of one stage: mask, box, and the consistency of both.

Legend: `B` batch, `H W` pixels of the input. Boxes are cxcywh in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from rrsis_bench.nn.layers.boxes import boxes_of_masks, overlaps, to_cxcywh, to_xyxy
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss

L1, GIOU = 5.0, 2.0
MASK_IN_BOX, BOX_OF_MASK = 0.3, 0.1
"""Weights of the two directions of the consistency loss."""
NO_AREA = 1e-12
"""Far below a pixel's share of an image, so that only boxes without an area notice it."""


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and Dice of logits (B, 1, H, W) against a target in {0, 1}, both means over the batch."""
    return binary_cross_entropy(logits, target) + dice_loss(logits, target)


def box_distance(boxes: Tensor, others: Tensor) -> Tensor:
    """5 |b - b'| + 2 (1 - GIoU) of boxes (B, 4), pair by pair: (B,)."""
    _, giou = overlaps(to_xyxy(boxes), to_xyxy(others), NO_AREA)
    return L1 * (boxes - others).abs().sum(-1) + GIOU * (1 - giou)


def consistency(logits: Tensor, boxes: Tensor, soft: bool) -> Tensor:
    """How far mask and box of a sample disagree.

    The share of the mask outside the box has no gradient as released, and the distance of the box to the rectangle
    round the mask moves the box alone.

    Args:
        logits: (B, 1, H, W).
        boxes: (B, 4).
        soft: weigh pixels by their probability, so that the share outside moves the mask.

    Returns:
        (B,).
    """
    return MASK_IN_BOX * (1 - share_inside(logits, boxes, soft)) + BOX_OF_MASK * box_distance(rectangle(logits), boxes)


def share_inside(logits: Tensor, boxes: Tensor, soft: bool) -> Tensor:
    """Share of the foreground's pixels that lie in the box, cut to whole pixels; 0 without foreground: (B,)."""
    height, width = logits.shape[-2:]
    left, top, right, bottom = to_xyxy(boxes.detach())[..., None].unbind(1)
    left, right = (left * width).trunc(), (right * width).trunc()
    top, bottom = (top * height).trunc(), (bottom * height).trunc()
    x, y = torch.arange(width, device=boxes.device), torch.arange(height, device=boxes.device)
    inside = ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]
    mass = logits[:, 0].sigmoid() if soft else (logits[:, 0] > 0).to(logits.dtype)
    return (mass * inside).flatten(1).sum(1) / mass.flatten(1).sum(1).clamp(min=1e-6)


def rectangle(logits: Tensor) -> Tensor:
    """Boxes (B, 4) round the foreground, as released from the first to the last pixel's *first* edge; 0 without one."""
    height, width = logits.shape[-2:]
    boxes, present = boxes_of_masks(logits[:, 0] > 0, dtype=logits.dtype)
    left, top, right, bottom = boxes.unbind(-1)
    found = present.to(boxes.dtype)
    return to_cxcywh(torch.stack((left, top, right - found / width, bottom - found / height), -1))
