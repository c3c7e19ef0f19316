"""The dense prompt: the cosine of each position of the refined image with the sentence, as a map for the segmenter.

Legend: `B` batch, `D` width, `h w` image map, `H W` prompt map.

The published form upsamples the features to the prompt's size, then takes the cosine. The low-memory form gives the
same numbers without a map of D channels at that size. Interpolation is linear: inner products with the sentence are
interpolated themselves. The squared length of an interpolated vector is a sum over products of its four neighbours,
which the small map gives.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.precision import at_least_float32, full_precision

Norm = Literal["batch", "group"]
SMALLEST = 1e-12


class DensePrompt(nn.Module):
    """Two convolutions over the refined image, then its cosine with the sentence.

    Args:
        width: D.
        norm: `batch`, or `group` for few samples per device.
    """

    def __init__(self, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        half = width // 2
        middle = nn.BatchNorm2d(half) if norm == "batch" else nn.GroupNorm(min(32, half), half)
        self.conv = nn.Sequential(
            nn.Conv2d(width, half, 3, padding=1), middle, nn.GELU(), nn.Conv2d(half, width, 3, padding=1)
        )

    def forward(
        self,
        refined: Tensor,
        sentence: Tensor,
        log_scale: Tensor,
        bias: Tensor,
        size: tuple[int, int],
        low_memory: bool = True,
    ) -> Tensor:
        """Make the prompt.

        Args:
            refined: (B, D, h, w).
            sentence: (B, D).
            log_scale: logarithm of the cosine's factor.
            bias: added to the scaled cosine.
            size: (H, W) of the prompt.
            low_memory: compute the cosine by `cosine_map`.

        Returns:
            (B, 1, H, W) in float32 (or float64): factor * cosine + bias.
        """
        features = self.conv(refined)
        with full_precision(features.device):
            features, sentence = at_least_float32(features), at_least_float32(sentence)
            cosine = (cosine_map if low_memory else cosine_map_naive)(features, sentence, size)
            return log_scale.exp() * cosine + bias


def cosine_map_naive(features: Tensor, sentence: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample features (B, D, h, w), then take the cosine with the sentence (B, D): (B, 1, H, W), as published."""
    large = F.interpolate(features, size, mode="bilinear", align_corners=True)
    return (F.normalize(large, dim=1) * F.normalize(sentence, dim=1)[..., None, None]).sum(1, keepdim=True)


def cosine_map(features: Tensor, sentence: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute `cosine_map_naive` in a fraction of its memory."""
    product = torch.einsum("bdhw,bd->bhw", features, F.normalize(sentence, dim=1))
    rows, row_pairs = corner_weights(features.shape[-2], size[0], features)
    columns, column_pairs = corner_weights(features.shape[-1], size[1], features)
    numerator = rows @ product @ columns.T
    own = (features * features).sum(1)
    right = (features[..., :-1] * features[..., 1:]).sum(1)
    below = (features[..., :-1, :] * features[..., 1:, :]).sum(1)
    across = (features[..., :-1, :-1] * features[..., 1:, 1:]).sum(1)
    across = across + (features[..., :-1, 1:] * features[..., 1:, :-1]).sum(1)
    squares, column_squares = rows.square(), columns.square()
    length = (
        squares @ own @ column_squares.T
        + 2 * squares @ right @ column_pairs.T
        + 2 * row_pairs @ below @ column_squares.T
        + 2 * row_pairs @ across @ column_pairs.T
    )
    return (numerator * length.clamp(min=SMALLEST**2).rsqrt())[:, None]


def corner_weights(small: int, large: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of bilinear interpolation with aligned corners along one axis.

    Args:
        small: number of known positions.
        large: number of interpolated positions.
        like: tensor that gives device and type.

    Returns:
        weights (large, small), and for each pair of neighbours the product of their weights (large, small - 1).
    """
    position = torch.linspace(0, small - 1, large, device=like.device, dtype=torch.float64)
    distance = (position[:, None] - torch.arange(small, device=like.device)).abs()
    weights = (1 - distance).clamp(min=0)
    return weights.to(like.dtype), (weights[:, :-1] * weights[:, 1:]).to(like.dtype)
