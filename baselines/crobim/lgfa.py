"""LGFA: language-guided fusion of the pyramid's levels.

The authors' figure shows language-to-vision interaction, multi-scale attention fusion and attention deficit
compensation, in a stack of 4. The insides of each part are ours.

Legend: `B` batch, `C_i h_i w_i` levels 1 to 4, `N` cells of levels 2 to 4, `D` width, `L` words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.crobim.deformable import LevelFusion, level_deficit, mass_deficit
from baselines.crobim.options import CroBIMOptions
from rrsis_bench.nn.layers.attention import Attention, FeedForward
from rrsis_bench.nn.layers.deformable import Sampling, Size
from rrsis_bench.nn.layers.init import zero
from rrsis_bench.nn.layers.losses import upsample
from rrsis_bench.nn.layers.positions import sine_2d

DEFICITS: Mapping[str, Callable[[Sequence[Sampling]], Tensor]] = {"mass": mass_deficit, "level-weight": level_deficit}
LEVELS = 3
GROUPS = 32


def group_norm(width: int) -> nn.GroupNorm:
    """Group norm with 32 groups, or with the largest number that divides both 32 and the width."""
    return nn.GroupNorm(math.gcd(GROUPS, width), width)


class LGFALayer(nn.Module):
    """One layer over the tokens of all levels.

    x0 = x + MHA(LN x + pe, words); x1 = x0 + fusion(LN x0); x2 = x1 + deficit * MLP(x0); out = x2 + FFN(LN x2).
    `given_back: after-fusion` has MLP(x1). The compensation's last layer starts at zero (`zero_init`).

    Args:
        options: the method's options.
    """

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        width, heads = options.width, options.heads
        self.language_norm = nn.LayerNorm(width)
        self.language = Attention(width, width, width, heads)
        self.fusion_norm = nn.LayerNorm(width)
        self.fusion = LevelFusion(width, heads, LEVELS, options.points, options.fusion == "deformable")
        self.deficit = DEFICITS.get(options.compensation)
        self.before = options.given_back == "before-fusion"
        if self.deficit is not None:
            self.compensate = nn.Sequential(nn.Linear(width, width), nn.GELU(), last := nn.Linear(width, width))
            if options.zero_init:
                zero(last)
        self.feed = FeedForward(width, options.ffn)

    def forward(self, x: Tensor, where: Tensor, words: Tensor, mask: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Run the layer.

        Args:
            x: (B, N, D) tokens of levels 2 to 4.
            where: (N, D) position codes of the tokens.
            words: (B, L, D).
            mask: (B, L) bool, True for real words.
            sizes: cells of each level.

        Returns:
            (B, N, D).
        """
        x = x + self.language(self.language_norm(x) + where, words, words, mask)
        language_aware = x
        normed = self.fusion_norm(x)
        fused, samplings = self.fusion(normed + where, normed, sizes)
        x = x + fused
        if self.deficit is not None:
            deficit = self.deficit(samplings)[..., None].to(x.dtype)
            x = x + deficit * self.compensate(language_aware if self.before else x)
        fed: Tensor = x + self.feed(x)
        return fed


class LGFA(nn.Module):
    """Fuses the pyramid and the words into one map.

    Args:
        channels: widths C_i of the four levels.
        options: the method's options; with `mid_stride` 8 the finest level is left out.
    """

    def __init__(self, channels: Sequence[int], options: CroBIMOptions) -> None:
        super().__init__()
        width = options.width
        self.fine = options.mid_stride == 4
        used = channels if self.fine else channels[1:]
        self.lateral = nn.ModuleList(nn.Sequential(nn.Conv2d(each, width, 1), group_norm(width)) for each in used)
        self.level = nn.Parameter(torch.randn(LEVELS, width) * 0.02)
        self.words = nn.Linear(options.text_width, width)
        self.layers = nn.ModuleList(LGFALayer(options) for _ in range(options.lgfa_layers))
        self.merge = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), group_norm(width))

    def forward(self, maps: Sequence[Tensor], words: Tensor, mask: Tensor) -> Tensor:
        """Join the levels under language.

        Args:
            maps: (B, C_i, h_i, w_i), finest first.
            words: (B, L, C) of the words-only pass.
            mask: (B, L) bool, True for real words.

        Returns:
            (B, D, h_1, w_1), or (B, D, h_2, w_2) with `mid_stride` 8.
        """
        used = maps if self.fine else maps[1:]
        sides = [layer(one) for layer, one in zip(self.lateral, used, strict=True)]
        levels = sides[-LEVELS:]
        sizes: list[Size] = [(one.shape[-2], one.shape[-1]) for one in levels]
        x = torch.cat([one.flatten(2).transpose(1, 2) + own for one, own in zip(levels, self.level, strict=True)], 1)
        where = torch.cat([sine_2d(*size, x.shape[-1], like=x) for size in sizes])
        words = self.words(words)
        for layer in self.layers:
            x = layer(x, where, words, mask, sizes)
        finest = x[:, : sizes[0][0] * sizes[0][1]]
        joined = finest.transpose(1, 2).reshape(levels[0].shape)
        if self.fine:
            joined = upsample(joined, (sides[0].shape[-2], sides[0].shape[-1])) + sides[0]
        return F.relu(self.merge(joined))
