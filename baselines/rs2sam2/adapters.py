"""Two adapters in each block of Hiera: image and words read each other ("bidirectional hierarchical fusion").

Legend: `B` batch, `h w` a block's map, `C` its channels, `d` = C / 4, `L` words, `P` their width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam2.modeling_sam2 import do_pool, window_partition, window_unpartition

from rrsis_bench.nn.layers.init import zero

KEPT = 0.8
"""Share of the words that a block keeps; the rest is what they read from its map."""
BESIDE = 0.5
"""Factor of the adapter beside the MLP."""


class CrossAttention(nn.Module):
    """Multi-head attention of queries to sources, without positions or residual, on the fused kernel.

    Args:
        width: channels of queries, sources and output.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, queries: Tensor, sources: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, width).
            sources: (B, S, width), keys and values.
            mask: (B, S) bool, True for sources that count; None counts all.

        Returns:
            (B, Q, width).
        """
        padded = None if mask is None else ~mask
        # Without `need_weights=False` the weights of 65,536 places would be stored.
        attended: Tensor = self.attention(queries, sources, sources, key_padding_mask=padded, need_weights=False)[0]
        return attended


class SpaceAdapter(nn.Module):
    """Between attention and residual: the map reads the words, then the words read the map.

    Args:
        width: C.
        text_width: P.
        heads: heads of both attentions.
        zero_start: start with no effect on the map.
    """

    def __init__(self, width: int, text_width: int, heads: int, zero_start: bool) -> None:
        super().__init__()
        inner = width // 4
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        self.text_in = nn.Linear(text_width, inner)
        self.text_out = nn.Linear(inner, text_width)
        self.read_words = CrossAttention(inner, heads)
        self.read_image = CrossAttention(inner, heads)
        if zero_start:
            zero(self.up)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            x: (B, h, w, C).
            words: (B, L, P).
            mask: (B, L) bool, True for words that the map may read; None for all.

        Returns:
            the map (B, h, w, C) and the words (B, L, P).
        """
        places = F.gelu(self.down(x)).flatten(1, 2)
        text = self.text_in(words)
        places = places + self.read_words(places, text, mask)
        text = text + self.read_image(text, places)
        words = KEPT * words + (1 - KEPT) * self.text_out(text)
        return x + self.up(places).view(x.shape), words

    def idle(self) -> list[nn.Parameter]:
        """What only makes words, which nobody reads after the last block."""
        return [*self.read_image.parameters(), *self.text_out.parameters()]


class MLPAdapter(nn.Module):
    """Two layers beside a block's MLP, without a skip connection."""

    def __init__(self, width: int, zero_start: bool) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 4)
        self.up = nn.Linear(width // 4, width)
        if zero_start:
            zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        added: Tensor = self.up(F.gelu(self.down(x)))
        return added


def add_adapters(hiera: Any, text_width: int, heads: int, zero_start: bool) -> None:
    """Give each block of transformers' Hiera its two adapters, in place; `run_block` runs them."""
    for block in hiera.blocks:
        block.space_adapter = SpaceAdapter(block.dim_out, text_width, heads, zero_start)
        block.mlp_adapter = MLPAdapter(block.dim_out, zero_start)


def run_block(block: Any, x: Tensor, words: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run a block of transformers' Hiera with its adapters.

    Args:
        block: a `Sam2MultiScaleBlock` with `space_adapter` and `mlp_adapter`.
        x: (B, h, w, C).
        words: (B, L, P).
        mask: (B, L) bool, True for words that the map may read; None for all.

    Returns:
        the map, halved and widened by the first block of stages 2 to 4, and the words.
    """
    normed = block.layer_norm1(x)
    residual = x if block.dim == block.dim_out else do_pool(block.proj(normed), block.query_stride)
    attended = _windowed(block, normed, (residual.shape[1], residual.shape[2]))
    attended, words = block.space_adapter(attended, words, mask)
    x = residual + attended
    normed = block.layer_norm2(x)
    return x + block.mlp(normed) + BESIDE * block.mlp_adapter(normed), words


def _windowed(block: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Attention inside windows; zeros pad the map right and below, and `size` (h, w) of the output cuts them off."""
    window: int = block.window_size
    if not window:
        whole: Tensor = block.attn(x)
        return whole
    windows, _ = window_partition(x, window)
    attended = block.attn(windows)
    if block.query_stride:
        window //= block.query_stride[0]
    padded = tuple(length + (-length) % window for length in size)
    cut: Tensor = window_unpartition(attended, window, padded, size)
    return cut
