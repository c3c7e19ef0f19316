"""LQVG's matching and losses, and those of the tuned mask decoder.

Legend: `J` decoder layers, `B` samples, `Q` queries. Boxes are cxcywh in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from rrsis_bench.nn.layers.boxes import overlaps, to_xyxy
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss

ALPHA, GAMMA = 0.25, 2.0

MaskLoss = Literal["bce-dice", "sam"]


def match(scores: Tensor, boxes: Tensor, truths: Tensor, weights: Mapping[str, float]) -> Tensor:
    """The query of the lowest cost for each sample, which has one truth.

    Args:
        scores: (B, Q) logits.
        boxes: (B, Q, 4).
        truths: (B, 4).
        weights: of `cls`, `l1` and `giou`.

    Returns:
        (B,) int64.
    """
    with torch.no_grad():
        p = scores.sigmoid()
        present = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log()
        absent = (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
        apart = (boxes - truths[:, None]).abs().sum(-1)
        _, giou = overlaps(to_xyxy(boxes), to_xyxy(truths)[:, None])
        return (weights["cls"] * (present - absent) + weights["l1"] * apart - weights["giou"] * giou).argmin(1)


def box_losses(
    scores: Tensor, boxes: Tensor, truths: Tensor, valid: Tensor, weights: Mapping[str, float]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Losses of all decoder layers, weighted and summed over them.

    Args:
        scores: (J, B, Q) logits.
        boxes: (J, B, Q, 4).
        truths: (B, 4).
        valid: (B,) bool, False for samples without a truth, which add nothing.
        weights: of `cls`, `l1` and `giou`.

    Returns:
        the losses `cls`, `l1`, `giou`, and the matched query (B,) of each layer.
    """
    count = _mean_over_processes(valid.sum().to(scores.dtype)).clamp(min=1)
    rows = torch.arange(scores.shape[1], device=scores.device)
    kept = valid.to(scores.dtype)
    sums = {name: scores.new_zeros(()) for name in weights}
    matches = []
    for layer_scores, layer_boxes in zip(scores, boxes, strict=True):
        chosen = match(layer_scores, layer_boxes, truths, weights)
        matches.append(chosen)
        found = layer_boxes[rows, chosen]
        target = (torch.arange(scores.shape[-1], device=scores.device) == chosen[:, None]).to(scores.dtype)
        _, giou = overlaps(to_xyxy(found), to_xyxy(truths))
        terms = {
            "cls": focal(layer_scores, target).sum(1),
            "l1": (found - truths).abs().sum(-1),
            "giou": 1 - giou,
        }
        for name, term in terms.items():
            # Half of a batch without truths would otherwise train nothing but the absence of objects.
            sums[name] = sums[name] + weights[name] * (term * kept).sum() / count
    return sums, matches


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Sigmoid focal loss (Lin et al., ICCV 2017) of each logit, alpha 0.25 and gamma 2."""
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    hit = p * target + (1 - p) * (1 - target)
    balance = ALPHA * target + (1 - ALPHA) * (1 - target)
    return balance * entropy * (1 - hit) ** GAMMA


def mask_losses(logits: Tensor, target: Tensor, kind: MaskLoss) -> dict[str, Tensor]:
    """Losses of the mask decoder, weighted.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) in {0, 1}.
        kind: `bce-dice` is 2 cross-entropy + Dice, `sam` is 20 focal + Dice, as SAM was trained.
    """
    dice = dice_loss(logits, target)
    if kind == "sam":
        return {"focal": 20 * focal(logits.float(), target).mean(), "dice": dice}
    return {"bce": 2 * binary_cross_entropy(logits, target), "dice": dice}


def _mean_over_processes(value: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        value = value.clone()
        distributed.all_reduce(value)
        value = value / distributed.get_world_size()
    return value
