"""Losses on the scores of two classes, 1 - m for background and m for the referent.

The softmax of the two scores is sigmoid(z) with z = 2 m - 1. Each loss gives one value per sample.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BACKGROUND, OBJECT = 0.9, 1.1
"""Class weights of the cross-entropy."""
SMOOTH = 1e-6


def weighted_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy whose pixels count by their class, divided by the sum of those weights.

    Args:
        logits: (B, 1, H, W), z.
        target: (B, 1, H, W) in {0, 1}.

    Returns:
        (B,).
    """
    weights = BACKGROUND + (OBJECT - BACKGROUND) * target
    errors = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weights * errors).flatten(1).sum(1) / weights.flatten(1).sum(1)


def two_class_dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice, summed over background and referent: between 0 and 2.

    Args:
        logits: (B, 1, H, W), z.
        target: (B, 1, H, W) in {0, 1}.

    Returns:
        (B,).
    """
    probability = torch.cat((logits.neg().sigmoid(), logits.sigmoid()), 1).flatten(2)
    truth = torch.cat((1 - target, target), 1).flatten(2)
    shared, areas = (probability * truth).sum(2), probability.sum(2) + truth.sum(2)
    return (1 - (2 * shared + SMOOTH) / (areas + SMOOTH)).sum(1)


def boundary(mask: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Squared difference of the edges of mask and truth, both multiplied by a number that the words give.

    The mask is thresholded. Its gradient is zero, and the loss can only lower the weight.

    Args:
        mask: (B, 1, H, W), m; its edges are those of m > 0.
        target: (B, 1, H, W) in {0, 1}.
        weight: (B,), w.

    Returns:
        (B,): w^2 mean (e(m > 0) - e(truth))^2.
    """
    difference = edges((mask > 0).to(target.dtype)) - edges(target)
    return weight.square() * difference.square().flatten(1).mean(1)


def edges(mask: Tensor) -> Tensor:
    """How many of a pixel's left and upper neighbours differ from it, for a mask (B, 1, H, W) of 0 and 1."""
    rows = F.pad((mask[..., 1:, :] - mask[..., :-1, :]).abs(), (0, 0, 1, 0))
    columns = F.pad((mask[..., 1:] - mask[..., :-1]).abs(), (1, 0))
    return rows + columns
