"""Multi-head attention and feed-forward parts on the fused kernel.

Legend: `B` batch, `Q` queries, `S` sources (keys and values).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention whose heads together have their own width.

    Args:
        width: width of queries and output.
        source: width of keys and values.
        inner: width of all heads together.
        heads: number of heads.
    """

    def __init__(self, width: int, source: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(source, inner)
        self.v_proj = nn.Linear(source, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, width).
            keys: (B, S, source).
            values: (B, S, source).
            mask: (B, S) bool, True for keys that count; None counts all.

        Returns:
            (B, Q, width).
        """
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, queries), (self.k_proj, keys), (self.v_proj, values))
        )
        allowed = None if mask is None else mask[:, None, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        merged: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return merged


class FeedForward(nn.Module):
    """Pre-norm feed-forward part without its residual: W2 GELU(W1 LN(x)).

    Args:
        width: channels of input and output.
        hidden: channels between the two layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        fed: Tensor = self.outer(F.gelu(self.inner(self.norm(x))))
        return fed
