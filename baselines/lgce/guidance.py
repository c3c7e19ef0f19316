"""The language-guided cross-scale module of LGCE: self-attention inside the two coarsest maps beside a language token.

In the found code, the two scales also exchange their language tokens, and drop them right after the exchange: it never
reaches a pixel. Only the self-attention inside each map has an effect. Option `cross_scale` chooses the other parts.

Legend: `B` batch, `C_i h_i w_i` width and size of the i-th map (finest first), `N_i` its pixels, `T` words, `Ct` their
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures, Texts

CrossScale = Literal["kept", "none", "acting"]
"""`kept`: parts without effect are built, but not run. `none`: they are left out. `acting`: the exchanged tokens are
added to the pixels, which gives the exchange an effect; this is our reading of the method's name, not the code's."""
MLP_RATIO = 2.0


def guide_vector(words: TextFeatures, masked: bool) -> Tensor:
    """The mean (B, Ct) of each text's words.

    Args:
        words: the encoded texts.
        masked: leave padding out; else all T positions count, as in the found code.
    """
    return words.mean() if masked else words.states.mean(1)


def to_width(width: int, other: int) -> nn.Sequential:
    """LayerNorm, GELU and a linear layer from one scale's width to another's."""
    return nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, other))


class FirstTokenAttention(nn.Module):
    """The first token of a sequence attends to all of it, in a residual connection.

    Args:
        width: channels.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map a sequence (B, 1 + N, C) to its new first token (B, 1, C)."""
        normed = self.norm(tokens)
        query, key, value = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(normed[:, :1]), self.key(normed), self.value(normed))
        )
        gathered = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        first: Tensor = tokens[:, :1] + self.output(gathered)
        return first


class TokenExchange(nn.Module):
    """Each scale's first token, projected to the other scale's width, attends to that scale and is projected back.

    Args:
        widths: channels of the finer and the coarser scale.
        heads: attention heads over the finer and over the coarser scale.
    """

    def __init__(self, widths: Sequence[int], heads: Sequence[int]) -> None:
        super().__init__()
        pairs = ((widths[0], widths[1]), (widths[1], widths[0]))
        self.into = nn.ModuleList(to_width(own, other) for own, other in pairs)
        self.attend = nn.ModuleList(FirstTokenAttention(widths[other], heads[other]) for other in (1, 0))
        self.back = nn.ModuleList(to_width(other, own) for own, other in pairs)

    def forward(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """Map two sequences (B, 1 + N_i, C_i) to their new first tokens (B, 1, C_i)."""
        tokens = []
        for index, (into, attend, back) in enumerate(zip(self.into, self.attend, self.back, strict=True)):
            joined = torch.cat([into(sequences[index][:, :1]), sequences[1 - index][:, 1:]], 1)
            tokens.append(back(attend(joined)))
        return tokens


class TwoScales(nn.Module):
    """Transformer blocks over each of two scales, in the form of CrossViT (Chen et al., ICCV 2021).

    Args:
        widths: channels of the finer and the coarser scale.
        heads: attention heads per scale.
        depths: blocks per scale.
        exchange: build the exchange of first tokens.
    """

    def __init__(self, widths: Sequence[int], heads: Sequence[int], depths: Sequence[int], exchange: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(width, count, MLP_RATIO, norm_layer=nn.LayerNorm) for _ in range(depth)))
            for width, count, depth in zip(widths, heads, depths, strict=True)
        )
        self.exchange = TokenExchange(widths, heads) if exchange else None

    def forward(self, sequences: Sequence[Tensor], acting: bool) -> list[Tensor]:
        """Map two sequences (B, 1 + N_i, C_i) to their pixels (B, N_i, C_i).

        Args:
            sequences: first token and pixels of each scale.
            acting: run the exchange, and add its token to every pixel.
        """
        mixed = [blocks(sequence) for blocks, sequence in zip(self.blocks, sequences, strict=True)]
        pixels = [one[:, 1:] for one in mixed]
        if not acting or self.exchange is None:
            return pixels
        return [one + token for one, token in zip(pixels, self.exchange(mixed), strict=True)]


class UnusedParts(nn.Module):
    """Parts that the found code builds and never runs: the finer pairs of scales, and patch embeddings of all three.

    Args:
        widths: channels of the four maps, finest first.
        text_width: width Ct of the words.
        heads: attention heads over the two scales of a pair.
        depths: blocks over the two scales of a pair.
    """

    def __init__(self, widths: Sequence[int], text_width: int, heads: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        pairs = [tuple(widths[index : index + 2]) for index in (2, 1, 0)]
        self.guides = nn.ModuleList(nn.Linear(text_width, width) for width in widths[:2])
        self.mixes = nn.ModuleList(TwoScales(pair, heads, depths, exchange=True) for pair in pairs[1:])
        self.patches = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(3, width, size, stride=size) for width, size in zip(pair, (8, 16), strict=True))
            for pair in pairs
        )


class LanguageGuided(nn.Module):
    """The whole module, between stages and decoder.

    Args:
        widths: channels of the four maps, finest first.
        text_width: width Ct of the words.
        heads: attention heads over the two coarsest maps.
        depths: blocks over the two coarsest maps.
        cross_scale: see `CrossScale`.
        masked: leave padding out of the guide vector.
    """

    def __init__(
        self,
        widths: Sequence[int],
        text_width: int,
        heads: Sequence[int] = (8, 16),
        depths: Sequence[int] = (1, 3),
        cross_scale: CrossScale = "kept",
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.acting = cross_scale == "acting"
        self.masked = masked
        self.guides = nn.ModuleList(nn.Linear(text_width, width) for width in widths[-2:])
        self.mix = TwoScales(widths[-2:], heads, depths, exchange=cross_scale != "none")
        self.unused = UnusedParts(widths, text_width, heads, depths) if cross_scale == "kept" else None

    def forward(self, maps: Sequence[Tensor], texts: Texts) -> list[Tensor]:
        """Refine maps (B, C_i, h_i, w_i), finest first; shapes stay, and the two finest maps stay as they are."""
        vector = guide_vector(texts[CONTEXT], self.masked)
        coarse = maps[-2:]
        sequences = [
            torch.cat([guide(vector)[:, None], one.flatten(2).transpose(1, 2)], 1)
            for guide, one in zip(self.guides, coarse, strict=True)
        ]
        mixed = self.mix(sequences, self.acting)
        return [*maps[:-2], *(new.transpose(1, 2).view_as(old) for new, old in zip(mixed, coarse, strict=True))]
