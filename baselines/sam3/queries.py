"""From the masks of SAM 3's queries to one answer, and the losses that train them.

Legend: `B` samples, `Q` queries, `h w` pixels of the masks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from rrsis_bench.nn.layers.losses import reduce_mask

NO_OBJECT = 0.1
"""Weight of the score loss of a query without object; most queries are such."""


def query_scores(logits: Tensor, presence: Tensor) -> Tensor:
    """Scores (B, Q) of queries from their logits (B, Q) and the presence logit (B, 1)."""
    return logits.sigmoid() * presence.sigmoid()


def merge_queries(masks: Tensor, scores: Tensor, threshold: float | None) -> Tensor:
    """One map (B, 1, h, w) from masks (B, Q, h, w).

    Args:
        masks: mask logits.
        scores: (B, Q).
        threshold: the answer is the maximum over the queries with a higher score; None for the best query alone.
    """
    best = F.one_hot(scores.argmax(1), scores.shape[1]).bool()
    if threshold is None:
        chosen = best
    else:
        above = scores > threshold
        chosen = torch.where(above.any(1, keepdim=True), above, best)
    return masks.masked_fill(~chosen[..., None, None], -torch.inf).amax(1, keepdim=True)


def query_losses(found: Any, masks: Tensor) -> dict[str, Tensor]:
    """Losses of the queries against one object a sample, the whole mask; a mean over the batch each.

    With one object, the cheapest assignment is the query of the lowest cost: its score, its box and its mask.

    Args:
        found: the network's output.
        masks: (B, H, W) truth at input size.
    """
    logits = found.pred_masks.float()
    truth = reduce_mask(masks, (logits.shape[-2], logits.shape[-1]))[:, 0]
    present = masks.flatten(1).any(1)
    box = mask_boxes(masks)
    pixel, dice = _mask_costs(logits, truth)
    distance, overlap = _box_costs(found.pred_boxes.float(), box)
    cost = pixel + dice + distance + overlap - found.pred_logits.float().sigmoid()
    chosen = cost.detach().argmin(1)
    rows = torch.arange(len(chosen), device=chosen.device)
    weight = present.float()
    target = F.one_hot(chosen, cost.shape[1]).float() * weight[:, None]
    score = F.binary_cross_entropy_with_logits(found.pred_logits.float(), target, reduction="none")
    return {
        "query_mask": ((pixel + dice)[rows, chosen] * weight).mean(),
        "query_box": ((distance + overlap)[rows, chosen] * weight).mean(),
        "query_score": (score * (target + NO_OBJECT * (1 - target))).sum(1).mean(),
        "presence": F.binary_cross_entropy_with_logits(found.presence_logits.float()[:, 0], weight),
    }


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes (B, 4) around masks (B, H, W): left, top, right, bottom in [0, 1]; the whole image for an empty mask."""
    boxes = []
    for axis in (1, 2):  # over rows, which leaves columns; over columns
        line = masks.any(axis)
        length = line.shape[1]
        first = line.int().argmax(1)
        last = length - line.flip(1).int().argmax(1)
        boxes.append((first / length, last / length))
    (left, right), (top, bottom) = boxes
    return torch.stack((left, top, right, bottom), 1)


def _mask_costs(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and 1 - Dice (B, Q) of each query's mask."""
    wanted = truth[:, None].expand_as(logits)
    pixel = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").flatten(2).mean(2)
    probability, wanted = logits.sigmoid().flatten(2), wanted.flatten(2)
    shared = (probability * wanted).sum(2)
    return pixel, 1 - (2 * shared + 1) / (probability.sum(2) + wanted.sum(2) + 1)


def _box_costs(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """L1 distance and 1 - generalised IoU (B, Q) of each query's box."""
    wanted = truth[:, None].expand_as(boxes)
    overlap = generalized_box_iou_loss(boxes.flatten(0, 1), wanted.flatten(0, 1)).reshape(boxes.shape[:2])
    return (boxes - wanted).abs().sum(-1), overlap
