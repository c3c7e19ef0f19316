"""The textual adapter of DETRIS (AAAI 2025, arXiv 2501.08580): densely connected 1-D convolutions over the words.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rrsis_bench.families.detris.dense import DenseBottleneck


class DenseTextAdapter(DenseBottleneck):
    """Three densely connected branches of kernels 1, 3 and 5 in a bottleneck; the first token bypasses the branches.

    Args:
        width: channels of the text encoder.
        bottleneck: channels d of the bottleneck.
    """

    def __init__(self, width: int = 512, bottleneck: int = 64) -> None:
        super().__init__(1, width, bottleneck)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Adapt tokens.

        Args:
            tokens: (B, L, C).
            mask: (B, L) bool, True for real tokens: padding enters the convolutions as zeros, and its length does not
                matter (BatchNorm's batch statistics still see it). None is the published behaviour, without zeros.

        Returns:
            (B, L, C).
        """
        down = torch.relu(self.D_fc1(tokens))
        keep = None if mask is None else mask[:, None, 1:].to(down.dtype)
        dense = self.dense(down[:, 1:].transpose(1, 2), keep).transpose(1, 2)
        adapted: Tensor = self.D_fc2(torch.cat((down[:, :1], dense), dim=1) + down)
        return adapted


class ScaledTextAdapter(nn.Module):
    """`DenseTextAdapter` with the call of `AdaptedTextEncoder`'s adapters; it leaves the state as it is.

    Args:
        inner: the adapter.
        scale: fixed factor of the adapter's output.
        masked: keep padding out of the convolutions.
    """

    def __init__(self, inner: DenseTextAdapter, scale: float, masked: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.masked = masked
        self.inner = inner

    def forward(self, tokens: Tensor, mask: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Adapt tokens (B, L, C) with mask (B, L).

        Returns:
            what to add to the MLP's output (B, L, C), and `state` unchanged.
        """
        return self.scale * self.inner(tokens, mask if self.masked else None), state
