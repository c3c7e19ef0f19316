"""The bottleneck of DETRIS's adapters (AAAI 2025, arXiv 2501.08580): densely connected convolutions, 1-D or 2-D.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class ConvNormRelu(nn.Module):
    """Convolution with bias and same padding, BatchNorm (eps 1e-3), ReLU over (B, C, L) or (B, C, h, w)."""

    def __init__(self, dimensions: Literal[1, 2], inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv: nn.Conv1d | nn.Conv2d
        self.bn: nn.BatchNorm1d | nn.BatchNorm2d
        if dimensions == 1:
            self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
            self.bn = nn.BatchNorm1d(outputs, eps=1e-3)
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
            self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, ...) to (B, C', ...)."""
        return torch.relu(self.bn(self.conv(maps)))


class DenseBottleneck(nn.Module):
    """Down- and up-projection, and three branches of kernels 1, 3 and 5; each branch reads the input and all before it.

    Args:
        dimensions: 1 for convolutions over words, 2 over maps.
        width: channels C of the encoder.
        bottleneck: channels d. The branches give d/2, d/4 and d/4; the larger kernels work after reductions to d/16.
    """

    def __init__(self, dimensions: Literal[1, 2], width: int, bottleneck: int) -> None:
        super().__init__()
        half, quarter, reduced = bottleneck // 2, bottleneck // 4, max(1, bottleneck // 16)
        self.D_fc1 = nn.Linear(width, bottleneck)
        self.dense_branch1 = ConvNormRelu(dimensions, bottleneck, half, 1)
        self.dense_branch2 = nn.Sequential(
            ConvNormRelu(dimensions, bottleneck + half, reduced, 1), ConvNormRelu(dimensions, reduced, quarter, 3)
        )
        self.dense_branch3 = nn.Sequential(
            ConvNormRelu(dimensions, bottleneck + half + quarter, reduced, 1),
            ConvNormRelu(dimensions, reduced, quarter, 5),
        )
        self.D_fc2 = nn.Linear(bottleneck, width)

    def dense(self, maps: Tensor, keep: Tensor | None = None) -> Tensor:
        """Run the three branches and join their outputs.

        Args:
            maps: (B, d, ...).
            keep: 1 or 0 for each position, broadcast over the channels. Positions with 0 are zeroed before each
                convolution, and no kernel spreads them. None keeps all.

        Returns:
            (B, d, ...).
        """

        def masked(branch: Tensor) -> Tensor:
            return branch if keep is None else branch * keep

        maps = masked(maps)
        first = masked(self.dense_branch1(maps))
        seen = torch.cat((maps, first), dim=1)
        second = masked(self.dense_branch2[1](masked(self.dense_branch2[0](seen))))
        seen = torch.cat((seen, second), dim=1)
        third = masked(self.dense_branch3[1](masked(self.dense_branch3[0](seen))))
        return torch.cat((first, second, third), dim=1)
