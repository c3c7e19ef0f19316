"""Losses on foreground logits. Each is a mean over the batch: the batch size does not change its weight."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.nn.layers.nearest import resize_masks
from rrsis_bench.nn.layers.precision import at_least_float32


def reduce_mask(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize truth masks (B, H, W) to the logits' resolution, by exact nearest.

    Returns:
        (B, 1, h, w) float in {0, 1}.
    """
    return resize_masks(masks, size)[:, None].float()


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps or logits (B, C, h, w), bilinear without aligned corners."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over all pixels of the batch, in float32 at least."""
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - Dice of the probabilities per sample, averaged over the batch.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) in {0, 1}.
        smooth: added to numerator and denominator; without it an empty truth would give 0 / 0.
    """
    probability = at_least_float32(logits).sigmoid().flatten(1)
    truth = target.flatten(1)
    shared = (probability * truth).sum(1)
    dice = (2 * shared + smooth) / (probability.sum(1) + truth.sum(1) + smooth)
    return (1 - dice).mean()
