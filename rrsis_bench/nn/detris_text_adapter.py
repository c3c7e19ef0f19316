"""The textual adapter of DETRIS (AAAI 2025, arXiv 2501.08580): densely connected 1-D convolutions over the words.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _ConvNormRelu1d(nn.Module):
    """1-D convolution with same padding, BatchNorm (eps 1e-3), ReLU over (B, C, L)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(outputs, eps=1e-3)

    def forward(self, words: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(words)))


class DenseTextAdapter(nn.Module):
    """Bottleneck with three densely connected branches of kernels 1, 3 and 5; the first token bypasses them.

    Args:
        width: channels of the text encoder.
        bottleneck: channels d of the bottleneck; branches give d/2, d/4 and d/4, after reductions to d/16.
    """

    def __init__(self, width: int = 512, bottleneck: int = 64) -> None:
        super().__init__()
        half, quarter, reduced = bottleneck // 2, bottleneck // 4, max(1, bottleneck // 16)
        self.D_fc1 = nn.Linear(width, bottleneck)
        self.dense_branch1 = _ConvNormRelu1d(bottleneck, half, 1)
        self.dense_branch2 = nn.Sequential(
            _ConvNormRelu1d(bottleneck + half, reduced, 1), _ConvNormRelu1d(reduced, quarter, 3)
        )
        self.dense_branch3 = nn.Sequential(
            _ConvNormRelu1d(bottleneck + half + quarter, reduced, 1), _ConvNormRelu1d(reduced, quarter, 5)
        )
        self.D_fc2 = nn.Linear(bottleneck, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Adapt tokens (B, L, C).

        Args:
            tokens: word features.
            mask: (B, L) bool, True for real tokens. Given, padding enters the convolutions as zeros, so that its
                length does not matter (BatchNorm's batch statistics still see it); None is the published behaviour.
        """
        down = torch.relu(self.D_fc1(tokens))
        keep = None if mask is None else mask[:, None, 1:].to(down.dtype)
        words = down[:, 1:].transpose(1, 2)

        def masked(branch: Tensor) -> Tensor:
            return branch if keep is None else branch * keep

        words = masked(words)
        first = masked(self.dense_branch1(words))
        seen = torch.cat((words, first), dim=1)
        # The kernels reach over neighbours, so what a reduction leaves at padding has to go before them.
        second = masked(self.dense_branch2[1](masked(self.dense_branch2[0](seen))))
        seen = torch.cat((seen, second), dim=1)
        third = masked(self.dense_branch3[1](masked(self.dense_branch3[0](seen))))
        dense = torch.cat((first, second, third), dim=1).transpose(1, 2)
        adapted: Tensor = self.D_fc2(torch.cat((down[:, :1], dense), dim=1) + down)
        return adapted
