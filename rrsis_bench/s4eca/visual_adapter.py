"""Visual adapters: a multi-scale dense extractor, then scale and spatial selection under language.

A reconstruction: the paper names the purposes, the insides are ours (see card.yaml).
Legend: `B` batch, `C` encoder width, `m` bottleneck, `h w` map, `N` proxies of width `d`, `S` sentence width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.init import kaiming, zero

Norm = Literal["batch", "group"]
SCALES = 3


def _conv(inputs: int, outputs: int, kernel: int, norm: Norm) -> nn.Sequential:
    """Convolution without bias, normalisation, ReLU."""
    after = nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(math.gcd(8, outputs), outputs)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), after, nn.ReLU(inplace=True)
    )


class DenseExtractor(nn.Module):
    """Three branches of kernels 1, 3 and 5 and of width m; each branch reads the map and all branches before it.

    Args:
        width: channels m.
        reduction: channels of the 1x1 reductions before the larger kernels.
        norm: BatchNorm, or GroupNorm for small batches.
    """

    def __init__(self, width: int, reduction: int, norm: Norm) -> None:
        super().__init__()
        self.first = _conv(width, width, 1, norm)
        self.second = nn.Sequential(_conv(2 * width, reduction, 1, norm), _conv(reduction, width, 3, norm))
        self.third = nn.Sequential(_conv(3 * width, reduction, 1, norm), _conv(reduction, width, 5, norm))

    def forward(self, maps: Tensor) -> list[Tensor]:
        """Extract three maps of the shape of `maps` (B, m, h, w), small kernels first."""
        first = self.first(maps)
        second = self.second(torch.cat((maps, first), dim=1))
        third = self.third(torch.cat((maps, first, second), dim=1))
        return [first, second, third]


class ScaleSelection(nn.Module):
    """Weighs the scales, channel by channel, by the sentence and the pooled image (selective-kernel form).

    Args:
        width: channels m.
        sentence: width S.
        hidden: width of the joint code.
    """

    def __init__(self, width: int, sentence: int, hidden: int) -> None:
        super().__init__()
        self.text = nn.Linear(sentence, width)
        self.joint = nn.Linear(2 * width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.weigh = nn.Linear(hidden, SCALES * width)
        self.apply(kaiming)
        zero(self.weigh)

    def forward(self, scales: list[Tensor], sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Select among the scales.

        Args:
            scales: three maps (B, m, h, w).
            sentence: (B, S).

        Returns:
            the weighted sum (B, m, h, w), and the weights (B, 3, m), which sum to 1 over the scales.
        """
        pooled = (scales[0] + scales[1] + scales[2]).mean((2, 3))
        code = torch.relu(self.norm(self.joint(torch.cat((pooled, self.text(sentence)), dim=1))))
        weights = self.weigh(code).reshape(len(pooled), SCALES, -1).softmax(dim=1)
        mixed = sum(one * weight[..., None, None] for one, weight in zip(scales, weights.unbind(1), strict=True))
        assert isinstance(mixed, Tensor)
        return mixed, weights


class SpatialSelection(nn.Module):
    """Positions attend to the language keys; their similarity to those keys gates them.

    sigma = e^tau * cos(X, K); g = sigmoid(conv7x7[max_j sigma, mean_j sigma]); output = g * M + attention(X -> K).

    Args:
        width: channels m.
        language: width of proxies, or of words in an ablation.
        heads: attention heads.
        dropout: dropout of the attention weights.
    """

    def __init__(self, width: int, language: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.position_norm = nn.LayerNorm(width)
        self.key = nn.Linear(language, width)
        self.key_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.tau = nn.Parameter(torch.tensor(math.log(10.0)))
        self.gate = nn.Conv2d(2, 1, 7, padding=3)
        self.apply(kaiming)
        zero(self.gate, bias=2.0)

    def forward(self, maps: Tensor, language: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Select positions.

        Args:
            maps: (B, m, h, w).
            language: (B, N, d) proxies, or words.
            mask: (B, N) bool, True for real words; None if all keys count.

        Returns:
            the selected map (B, m, h, w), and the gate (B, 1, h, w) in (0, 1).
        """
        positions = self.position_norm(maps.flatten(2).transpose(1, 2))
        keys = self.key_norm(self.key(language))
        padding = None if mask is None else ~mask
        context, _ = self.attention(positions, keys, keys, key_padding_mask=padding, need_weights=False)
        cosine = F.normalize(positions, dim=-1) @ F.normalize(keys, dim=-1).transpose(1, 2)
        similarity = self.tau.exp() * cosine
        if mask is None:
            response = torch.stack((similarity.amax(-1), similarity.mean(-1)), dim=1)
        else:
            real = mask[:, None]
            highest = similarity.masked_fill(~real, float("-inf")).amax(-1)
            mean = similarity.masked_fill(~real, 0.0).sum(-1) / real.sum(-1).clamp(min=1)
            response = torch.stack((highest, mean), dim=1)
        gate = self.gate(response.reshape(-1, 2, *maps.shape[-2:])).sigmoid()
        return gate * maps + context.transpose(1, 2).reshape(maps.shape), gate


class VisualAdapter(nn.Module):
    """Bottleneck, dense extractor, scale selection, spatial selection, residual, up-projection.

    Args:
        width: channels C of the encoder.
        bottleneck: channels m.
        reduction: width of the extractor's reductions.
        sentence: width S of the sentence vector.
        language: width of the language keys.
        heads: heads of the cross-attention.
        hidden: width of the scale selection's joint code.
        dropout: dropout of the attention weights.
        norm: normalisation of the extractor.
        scale_selection: weigh the scales; if off, they are summed (an ablation).
        spatial_selection: weigh the positions; if off, the map stays as it is (an ablation).
        scale: fixed factor of the output.
        zero_init: start with a zero up-projection, which leaves the encoder's output as it is.
        space_first: select positions in every scale, then mix the scales; if off, the other way round.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        reduction: int,
        sentence: int,
        language: int,
        heads: int = 8,
        hidden: int = 32,
        dropout: float = 0.1,
        norm: Norm = "batch",
        scale_selection: bool = True,
        spatial_selection: bool = True,
        scale: float = 0.2,
        zero_init: bool = True,
        space_first: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.space_first = space_first
        self.down = nn.Linear(width, bottleneck)
        self.extract = DenseExtractor(bottleneck, reduction, norm)
        self.up = nn.Linear(bottleneck, width)
        self.apply(kaiming)
        self.scales = ScaleSelection(bottleneck, sentence, hidden) if scale_selection else None
        self.places = SpatialSelection(bottleneck, language, heads, dropout) if spatial_selection else None
        if zero_init:
            zero(self.up)

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int],
        prefix: int,
        language: Tensor,
        mask: Tensor | None,
        sentence: Tensor,
    ) -> Tensor:
        """Adapt a block's tokens.

        Args:
            tokens: (B, prefix + h * w, C).
            grid: (h, w).
            prefix: number of tokens before those of the map; they pass through the bottleneck only.
            language: (B, N, d) proxies, or words.
            mask: (B, N) bool for words, None for proxies.
            sentence: (B, S).

        Returns:
            what to add to the MLP's output, of the tokens' shape.
        """
        down = torch.relu(self.down(tokens))
        maps = down[:, prefix:].transpose(1, 2).reshape(len(down), -1, *grid)
        scales = self.extract(maps)
        if self.space_first and self.places is not None:
            known = None if mask is None else mask.repeat(SCALES, 1)
            located, _ = self.places(torch.cat(scales), language.repeat(SCALES, 1, 1), known)
            scales = list(located.chunk(SCALES))
        selected = scales[0] + scales[1] + scales[2] if self.scales is None else self.scales(scales, sentence)[0]
        if not self.space_first and self.places is not None:
            selected, _ = self.places(selected, language, mask)
        change = F.pad(selected.flatten(2).transpose(1, 2), (0, 0, prefix, 0))
        adapted: Tensor = self.up(down + change)
        return self.scale * adapted
