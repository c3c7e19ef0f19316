"""The neck of DETRIS (AAAI 2025, arXiv 2501.08580): three maps of one resolution, gated by the sentence and fused.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.positions import coordinate_maps

Gate = Literal["attention", "linear"]


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Convolution without bias and with same padding, BatchNorm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class AttentionGate(nn.Module):
    """Cross-attention to a single token, computed as the channel gate that it is: with one key, all weights are 1.

    The attention's parameters are kept, although those of queries and keys have no effect.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, token: Tensor) -> Tensor:
        """Map a token (B, C) to the gate of each channel (B, C)."""
        attention = self.multihead_attn
        _, _, weight = attention.in_proj_weight.chunk(3)
        _, _, bias = attention.in_proj_bias.chunk(3)
        gate: Tensor = attention.out_proj(F.linear(token, weight, bias))
        return gate


class LinearGate(nn.Sequential):
    """The two linear layers of `AttentionGate` that have an effect: 2 (C^2 + C) parameters fewer, the same function."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.Linear(width, width))


class CoordConv(nn.Module):
    """A 3x3 convolution whose input also holds x and y coordinates in [-1, 1]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_relu(inputs + 2, outputs, 3)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h, w)."""
        located: Tensor = self.conv1(torch.cat((maps, coordinate_maps(maps)), dim=1))
        return located


class DetrisNeck(nn.Module):
    """Project three maps, gate their channels by the sentence, fuse them, and add position-aware context.

    Args:
        channels: channels C of the incoming maps, or three numbers if they differ.
        width: channels D of the fused map.
        sentence: width of the sentence vector.
        heads: heads of the gates' attention form.
        gate: `attention` keeps the published parameters, `linear` those with an effect; both are the same function.
    """

    def __init__(
        self, channels: int | Sequence[int], width: int, sentence: int, heads: int = 8, gate: Gate = "attention"
    ) -> None:
        super().__init__()
        self.txt_proj = nn.Linear(sentence, width)
        shallow, middle, deep = (channels,) * 3 if isinstance(channels, int) else channels
        self.f3_proj = conv_norm_relu(shallow, width)
        self.f4_proj = conv_norm_relu(middle, width)
        # A transposed 1x1 convolution, as published: the function of a plain one, with another layout of its weight.
        self.f5_proj = nn.Sequential(
            nn.ConvTranspose2d(deep, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.fusion3, self.fusion4, self.fusion5 = (
            AttentionGate(width, heads) if gate == "attention" else LinearGate(width) for _ in range(3)
        )
        self.aggr = conv_norm_relu(3 * width, width)
        self.coordconv = nn.Sequential(CoordConv(width, width), conv_norm_relu(width, width, 3))

    def forward(self, maps: tuple[Tensor, Tensor, Tensor], sentence: Tensor) -> Tensor:
        """Fuse three maps (B, C, h, w), shallow to deep, under the sentence vector (B, S).

        Returns:
            (B, D, h, w).
        """
        token = self.txt_proj(sentence)
        projected = (self.f3_proj(maps[0]), self.f4_proj(maps[1]), self.f5_proj(maps[2]))
        gates = (self.fusion3(token), self.fusion4(token), self.fusion5(token))
        gated = [one * gate[:, :, None, None] for one, gate in zip(projected, gates, strict=True)]
        fused: Tensor = self.aggr(torch.cat(gated, dim=1))
        context: Tensor = self.coordconv(fused)
        return fused + context
