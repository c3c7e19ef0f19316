"""Attention layers and small heads of C3VG, as DETR's decoder has them: the norm follows each sub-layer.

Legend: `B` batch, `Q` queries, `M` positions that they read, `D` width.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.dropped import MultiheadAttention


class ThreeLayers(nn.Module):
    """Three linear layers with ReLU between them: (..., inputs) to (..., outputs).

    Args:
        inputs: channels that come in.
        width: channels inside.
        outputs: channels that go out.
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((inputs, width, width, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        first, second, last = self.layers
        y: Tensor = last(F.relu(second(F.relu(first(x)))))
        return y


class QueryLayer(nn.Module):
    """Attention of the queries to each other and to a memory, then a feed-forward part, each with residual and norm.

    Args:
        width: D.
        heads: attention heads.
        hidden: width inside the feed-forward part.
        dropout: of attention weights, and behind both linear layers of the feed-forward part.
        reads: whether there is a memory.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, reads: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            MultiheadAttention(width, heads, dropout, batch_first=True) for _ in range(1 + reads)
        )
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + reads))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, q: Tensor, code: Tensor | None, memory: Tensor | None, memory_code: Tensor | None, padding: Tensor | None
    ) -> Tensor:
        """See `Stack.forward`; `memory` is None for a layer that reads none."""
        *attention_norms, last_norm = self.norms
        asking = _coded(q, code)
        own = self.attentions[0](asking, asking, q, need_weights=False)[0]
        q = attention_norms[0](q + own)
        if memory is not None:
            key = _coded(memory, memory_code)
            read = self.attentions[1](_coded(q, code), key, memory, key_padding_mask=padding, need_weights=False)[0]
            q = attention_norms[1](q + read)
        fed = self.dropout(self.contract(self.dropout(F.relu(self.expand(q)))))
        normed: Tensor = last_norm(q + fed)
        return normed


class Stack(nn.Module):
    """Query layers; those that read a memory have one more norm at their end.

    Args:
        layers: their number.
        width: D.
        heads: attention heads.
        hidden: width inside the feed-forward parts.
        dropout: see `QueryLayer`.
        reads: whether the queries read a memory.
    """

    def __init__(
        self, layers: int, width: int, heads: int, hidden: int, dropout: float = 0.0, reads: bool = True
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(QueryLayer(width, heads, hidden, dropout, reads) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if reads else nn.Identity()

    def forward(
        self,
        q: Tensor,
        memory: Tensor | None = None,
        code: Tensor | None = None,
        memory_code: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Refine queries.

        Args:
            q: (B, Q, D).
            memory: (B, M, D) that the queries read.
            code: positions of the queries, added wherever they ask; None adds nothing.
            memory_code: positions of the memory, added to its keys; None adds nothing.
            padding: (B, M) bool, True for positions of the memory that no query reads; None for none.

        Returns:
            (B, Q, D).
        """
        for layer in self.layers:
            q = layer(q, code, memory, memory_code, padding)
        normed: Tensor = self.norm(q)
        return normed


class DynamicHead(nn.Module):
    """A 1x1 convolution whose kernel and bias come from the sentence vector; both stages share it.

    Args:
        width: D; the kernel reads half as many channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.visual = nn.Conv2d(width, width // 2, 1)
        self.text = nn.Linear(width, width // 2 + 1)

    def forward(self, maps: Tensor, sentence: Tensor) -> Tensor:
        """A map (B, D, h, w) and the sentence (B, D) to logits (B, 1, h, w)."""
        kernel, bias = self.text(sentence)[:, None].split((self.text.out_features - 1, 1), -1)
        flat = self.visual(maps).flatten(2)
        logits: Tensor = (kernel @ flat + bias).unflatten(2, maps.shape[-2:])
        return logits


def _coded(x: Tensor, code: Tensor | None) -> Tensor:
    return x if code is None else x + code
