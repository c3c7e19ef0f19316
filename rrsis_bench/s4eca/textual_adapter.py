"""Textual adapters: learnable queries distil language proxies from the words (reconstruction; see card.yaml).

Legend: `B` batch, `L` tokens, `C` width of the text encoder, `d` bottleneck, `N` queries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.detris.text_adapter import DenseTextAdapter, ScaledTextAdapter
from rrsis_bench.nn.layers.init import kaiming, zero


class Distiller(nn.Module):
    """Distils proxies from words: P = q + attention(LN q -> LN w), with q = E + the previous proxies.

    Args:
        width: channels d of queries and words.
        queries: number N; 0 takes the mean of the real words in place of proxies (an ablation).
        heads: attention heads.
        dropout: dropout of the attention weights.
    """

    def __init__(self, width: int, queries: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02) if queries else None
        if queries:
            self.norm = nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)

    def forward(self, words: Tensor, mask: Tensor, previous: Tensor | None) -> Tensor:
        """Distil normalised words.

        Args:
            words: (B, L, d).
            mask: (B, L) bool, True for real tokens.
            previous: (B, N, d) proxies to refine, or None.

        Returns:
            proxies (B, N, d), N = 1 for the mean.
        """
        if self.queries is None:
            weight = mask[..., None].to(words.dtype)
            return (words * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        query = self.queries.expand(len(words), -1, -1)
        query = query if previous is None else query + previous
        gathered, _ = self.attention(self.norm(query), words, words, key_padding_mask=~mask, need_weights=False)
        proxies: Tensor = query + gathered
        return proxies


class QueryTextAdapter(nn.Module):
    """Distils proxies in a bottleneck; the words then attend to the proxies.

    w = GELU(D y); P_k from `Distiller`; w^ = w + attention(LN w -> LN P_k); output = scale * U w^.

    Args:
        width: channels C.
        bottleneck: channels d.
        queries: number N of queries; 0 for the mean of the words.
        heads: heads of both attentions.
        dropout: dropout of the attention weights.
        scale: fixed factor of the output.
        zero_init: start with U = 0, which leaves the encoder's output as it is.
    """

    def __init__(
        self, width: int, bottleneck: int, queries: int, heads: int, dropout: float, scale: float, zero_init: bool
    ) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(width, bottleneck)
        self.word_norm = nn.LayerNorm(bottleneck)
        self.distil = Distiller(bottleneck, queries, heads, dropout)
        self.proxy_norm = nn.LayerNorm(bottleneck)
        self.give_back = nn.MultiheadAttention(bottleneck, heads, dropout=dropout, batch_first=True)
        self.up = nn.Linear(bottleneck, width)
        self.apply(kaiming)
        if zero_init:
            zero(self.up)

    def forward(self, tokens: Tensor, mask: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Adapt a block's words.

        Args:
            tokens: (B, L, C), after the block's attention.
            mask: (B, L) bool, True for real tokens.
            state: (B, N, d) proxies of the previous adapter, or None.

        Returns:
            what to add to the MLP's output (B, L, C), and the proxies (B, N, d).
        """
        words = F.gelu(self.down(tokens))
        normed = self.word_norm(words)
        proxies = self.distil(normed, mask, state)
        keys = self.proxy_norm(proxies)
        returned, _ = self.give_back(normed, keys, keys, need_weights=False)
        return self.scale * self.up(words + returned), proxies


def dense_adapter(width: int, bottleneck: int, scale: float, zero_init: bool) -> ScaledTextAdapter:
    """DETRIS's convolutional adapter in place of `QueryTextAdapter`; it makes no proxies.

    Args:
        width: channels C.
        bottleneck: channels d.
        scale: fixed factor of the output.
        zero_init: start with a zero up-projection.
    """
    inner = DenseTextAdapter(width, bottleneck)
    inner.apply(kaiming)
    if zero_init:
        zero(inner.D_fc2)
    return ScaledTextAdapter(inner, scale)


class FinalProxies(nn.Module):
    """Distils one set of proxies from the text encoder's final words.

    Args:
        width: channels C of the words.
        bottleneck: channels d of the proxies.
        queries: number N; 0 for the mean of the words.
        heads: attention heads.
        dropout: dropout of the attention weights.
    """

    def __init__(self, width: int, bottleneck: int, queries: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.word_norm = nn.LayerNorm(bottleneck)
        self.distil = Distiller(bottleneck, queries, heads, dropout)
        self.apply(kaiming)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Distil words (B, L, C) with mask (B, L) to proxies (B, N, d)."""
        proxies: Tensor = self.distil(self.word_norm(F.gelu(self.down(words))), mask, None)
        return proxies
