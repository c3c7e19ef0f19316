"""CAPM: prompts for the text encoder that have attended to the image pyramid.

The authors' figure shows the pyramid pooled and joined, a vision-to-language interaction with learned prompts, and
prompts as the result. The insides of each part are ours.

Legend: `B` batch, `C_i h_i w_i` the levels, `G` grid cells, `P` prompts, `C` width of the text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.crobim.options import CroBIMOptions
from rrsis_bench.nn.layers.attention import Attention, FeedForward
from rrsis_bench.nn.layers.init import zero

EXPANSION = 4


class PooledPyramid(nn.Module):
    """Pools all levels to small grids and makes one sequence of them, with learned positions.

    Args:
        channels: widths C_i of the levels.
        width: C.
        grid: side of the grid in cells.
        join: `channels` (one token per cell, with all levels' channels) or `tokens` (one token per cell and level).
    """

    def __init__(self, channels: Sequence[int], width: int, grid: int, join: str) -> None:
        super().__init__()
        self.grid = grid
        joined = (sum(channels),) if join == "channels" else tuple(channels)
        self.project = nn.ModuleList(nn.Linear(each, width) for each in joined)
        self.position = nn.Parameter(torch.randn(len(joined) * grid * grid, width) * 0.02)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool maps (B, C_i, h_i, w_i) to (B, G, C), or (B, levels * G, C)."""
        pooled = [F.adaptive_avg_pool2d(one, self.grid).flatten(2).transpose(1, 2) for one in maps]
        groups = [torch.cat(pooled, -1)] if len(self.project) == 1 else pooled
        cells = torch.cat([layer(group) for layer, group in zip(self.project, groups, strict=True)], 1)
        normed: Tensor = self.norm(cells + self.position)
        return normed


class CAPM(nn.Module):
    """Prompts p that attend to the pooled pyramid X: p <- p + MHA(LN p, X); p <- p + FFN(LN p).

    With `zero_init` the attention's output starts at zero: the prompts do not depend on the image at first.

    Args:
        channels: widths C_i of the levels.
        options: the method's options.
    """

    def __init__(self, channels: Sequence[int], options: CroBIMOptions) -> None:
        super().__init__()
        width = options.text_width
        self.prompts = nn.Parameter(torch.randn(options.prompts, width) * 0.02)
        self.pyramid = PooledPyramid(channels, width, options.capm_grid, options.capm_pooling)
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width, width, options.capm_heads)
        self.feed = FeedForward(width, EXPANSION * width)
        if options.zero_init:
            zero(self.attention.out_proj)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Make prompts (B, P, C) from maps (B, C_i, h_i, w_i)."""
        seen = self.pyramid(maps)
        prompts = self.prompts.expand(len(seen), -1, -1)
        prompts = prompts + self.attention(self.norm(prompts), seen, seen)
        fed: Tensor = prompts + self.feed(prompts)
        return fed


class ConstantPrompts(nn.Module):
    """Learned prompts that do not depend on the image (an ablation).

    Args:
        width: C.
        prompts: P.
    """

    def __init__(self, width: int, prompts: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(prompts, width) * 0.02)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Repeat the prompts for each image: (B, P, C); only the maps' number B counts."""
        return self.prompts.expand(len(maps[0]), -1, -1)
