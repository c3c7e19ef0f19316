"""Adaptive rotated convolution (RMSIN, section 3.4): the decoder rotates its kernels by an angle per image.

Legend: `B` batch, `C` channels, `h w` map, `n` kernels, taps are numbered 0 to 8 row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.init import trunc_normal_

from rrsis_bench.families.lavt.decoder import LAVTDecoder


def rotation(theta: Tensor) -> Tensor:
    """Matrices that mix the nine taps of a kernel into those of the rotated kernel.

    Each tap's position is rotated about the centre, clamped to the kernel's square, and interpolated bilinearly between
    the four nearest taps. Within 45 degrees this equals the paper's table of cases.

    Args:
        theta: (...) angles in radians.

    Returns:
        (..., 9, 9); rows are taps of the rotated kernel and sum to 1.
    """
    steps = torch.arange(-1, 2, dtype=theta.dtype, device=theta.device)
    down, right = (place.flatten() for place in torch.meshgrid(steps, steps, indexing="ij"))
    cos, sin = theta.cos()[..., None], theta.sin()[..., None]
    column = (cos * right - sin * down).clamp(-1, 1)
    row = (sin * right + cos * down).clamp(-1, 1)
    near_columns = F.relu(1 - (column[..., None] - right).abs())
    near_rows = F.relu(1 - (row[..., None] - down).abs())
    return near_columns * near_rows


class Routing(nn.Module):
    """Predicts a strength and an angle of each kernel for each image, from the mean of the image's map.

    Args:
        width: channels C.
        kernels: number n.
        degrees: largest angle to either side.
        dropout: rate before each of the two linear layers.
    """

    def __init__(self, width: int, kernels: int, degrees: float, dropout: float) -> None:
        super().__init__()
        self.largest = math.radians(degrees)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.strength = nn.Linear(width, kernels)
        self.angle = nn.Linear(width, kernels, bias=False)
        for layer in (self.depthwise, self.strength, self.angle):
            trunc_normal_(layer.weight, std=0.02)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) to strengths in (0, 1) and angles in radians, both (B, n) and in float32 at least."""
        pixels = F.relu(self.norm(self.depthwise(features).permute(0, 2, 3, 1)))
        mean = pixels.mean((1, 2))
        strength, angle = self.strength(self.dropout(mean)), self.angle(self.dropout(mean))
        precise = torch.promote_types(angle.dtype, torch.float32)  # bfloat16 would round angles too much
        return F.sigmoid(strength.to(precise)), F.softsign(angle.to(precise)) * self.largest


class AdaptiveRotatedConv(nn.Module):
    """A 3x3 convolution whose kernel is rotated and scaled per image: sum over j of lambda_j R(theta_j) K_j.

    Args:
        width: channels C of input and output.
        kernels: number n.
        degrees: largest angle to either side.
        dropout: rate in the routing.
    """

    def __init__(self, width: int, kernels: int = 1, degrees: float = 40.0, dropout: float = 0.2) -> None:
        super().__init__()
        # Kernels are stacked along the outputs: a parameter of five axes would have no channels-last layout.
        self.weight = nn.Parameter(torch.empty(kernels * width, width, 3, 3))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.routing = Routing(width, kernels, degrees, dropout)

    def kernels(self, features: Tensor) -> Tensor:
        """Make each image's kernel from a map (B, C, h, w): (B, C, C, 3, 3)."""
        strength, angle = self.routing(features)
        mix = (strength[..., None, None] * rotation(angle)).to(self.weight.dtype)
        width = self.weight.shape[1]
        own = self.weight.reshape(-1, width, width, 9)
        return torch.einsum("bnrt,noit->boir", mix, own).reshape(-1, width, width, 3, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (B, C, h, w); the shape stays. One grouped convolution serves the whole batch."""
        batch = features.shape[0]
        kernels = self.kernels(features)
        joined = features.reshape(1, -1, *features.shape[-2:])
        turned = F.conv2d(joined, kernels.flatten(0, 1), padding=1, groups=batch)
        return turned.view(features.shape)


class ARCDecoder(LAVTDecoder):
    """LAVT's decoder with rotated kernels in the second convolution of each step.

    Args:
        channels: widths of the maps, finest first.
        width: hidden channels.
        kernels: rotated kernels per step.
        degrees: largest angle to either side.
        dropout: rate in the routing.
    """

    def __init__(
        self, channels: Sequence[int], width: int, kernels: int = 1, degrees: float = 40.0, dropout: float = 0.2
    ) -> None:
        super().__init__(channels, width)
        for step in self.steps:
            step.conv2 = AdaptiveRotatedConv(width, kernels, degrees, dropout)
