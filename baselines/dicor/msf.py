"""DiCoR's multi-scale module: the four maps, pooled to one grid, attend to themselves and, in one form, to the words.

The shell is that of RMSIN and FIANet (`rrsis_bench/nn/layers/multiscale.py`); only the blocks differ.

Legend: `B` batch, `N` cells of the grid, `D` inner width, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rrsis_bench.families.lavt.stage import CONTEXT, Texts
from rrsis_bench.nn.layers.init import init_transformer, zero
from rrsis_bench.nn.layers.multiscale import MultiScaleShell


def feed_forward(width: int) -> nn.Sequential:
    """Two linear layers with GELU between them, four times as wide inside."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def attend(layer: nn.MultiheadAttention, queries: Tensor, sources: Tensor, padded: Tensor | None = None) -> Tensor:
    """Attention on the fused kernel.

    Args:
        layer: its parameters, batch first.
        queries: (B, Q, width).
        sources: (B, S, source width), keys and values.
        padded: (B, S) bool, True for sources that are left out; None for none.

    Returns:
        (B, Q, width).
    """
    # Queries and keys as one object would send the layer down a path of its own in evaluation.
    queries = queries.view_as(queries)
    attended: Tensor = layer(queries, sources, sources, key_padding_mask=padded, need_weights=False)[0]
    return attended


class PixelBlock(nn.Module):
    """Self-attention and a feed-forward layer, each behind its norm and in a residual connection (VMSF).

    Args:
        width: channels D.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.feed = feed_forward(width)

    def forward(self, pixels: Tensor, words: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Run the block on pixels (B, N, D); the words pass unread."""
        normed = self.norm1(pixels)
        pixels = pixels + attend(self.attention, normed, normed)
        return pixels + self.feed(self.norm2(pixels)), words


class LanguageBlock(nn.Module):
    """Words read pixels, pixels read words, each with a feed-forward layer and norms behind sums; then VMSF (LVMSF).

    Args:
        width: channels D.
        text_width: width Ct of the words.
        heads: attention heads of all three attentions.
    """

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.words_read = nn.MultiheadAttention(text_width, heads, kdim=width, vdim=width, batch_first=True)
        self.words_feed = feed_forward(text_width)
        self.words_norm1 = nn.LayerNorm(text_width)
        self.words_norm2 = nn.LayerNorm(text_width)
        self.pixels_read = nn.MultiheadAttention(width, heads, kdim=text_width, vdim=text_width, batch_first=True)
        self.pixels_feed = feed_forward(width)
        self.pixels_norm1 = nn.LayerNorm(width)
        self.pixels_norm2 = nn.LayerNorm(width)
        self.pixels = PixelBlock(width, heads)

    def silence(self) -> None:
        """Let the four branches that read or change words start at zero: only norms and VMSF act."""
        for layer in (self.words_read.out_proj, self.words_feed[2], self.pixels_read.out_proj, self.pixels_feed[2]):
            assert isinstance(layer, nn.Linear)
            zero(layer)

    def forward(self, pixels: Tensor, words: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            pixels: (B, N, D).
            words: (B, T, Ct); padded ones are changed too, and no pixel reads them.
            padded: (B, T) bool, True for padding.

        Returns:
            pixels and words of the same shapes.
        """
        words = self.words_norm1(words + attend(self.words_read, words, pixels))
        words = self.words_norm2(words + self.words_feed(words))
        pixels = self.pixels_norm1(pixels + attend(self.pixels_read, pixels, words, padded))
        pixels = self.pixels_norm2(pixels + self.pixels_feed(pixels))
        return self.pixels(pixels, words, padded)  # type: ignore[no-any-return]


class MultiScale(nn.Module):
    """Joins all maps at the size of the coarsest, runs blocks on them, and spreads the result over the maps.

    Args:
        widths: channels of the maps, finest first.
        text_width: width Ct of the words.
        blocks: number of blocks.
        heads: attention heads in every block.
        language: build `LanguageBlock` (LVMSF) in place of `PixelBlock` (VMSF).
        silent: let the language's branches start at zero.
    """

    def __init__(
        self, widths: Sequence[int], text_width: int, blocks: int, heads: int, language: bool, silent: bool = False
    ) -> None:
        super().__init__()
        self.shell = MultiScaleShell(widths)
        inner = self.shell.inner
        self.blocks = nn.ModuleList(
            LanguageBlock(inner, text_width, heads) if language else PixelBlock(inner, heads) for _ in range(blocks)
        )
        self.blocks.apply(init_transformer)
        if language and silent:
            for block in self.blocks:
                assert isinstance(block, LanguageBlock)
                block.silence()

    def forward(self, maps: Sequence[Tensor], texts: Texts) -> list[Tensor]:
        """Refine maps (B, C_i, h_i, w_i), finest first; shapes stay."""
        return self.mix(maps, texts[CONTEXT].states, texts[CONTEXT].mask)[0]

    def mix(self, maps: Sequence[Tensor], words: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """Refine maps, and the words (B, T, Ct) with them.

        Args:
            maps: (B, C_i, h_i, w_i), finest first.
            words: (B, T, Ct).
            mask: (B, T), true or 1 for words that pixels read.

        Returns:
            maps of the same shapes, and the words behind the last block.
        """
        joined = self.shell.pool(maps)
        pixels, padded = joined.flatten(2).transpose(1, 2), ~mask.bool()
        for block in self.blocks:
            pixels, words = block(pixels, words, padded)
        return self.shell.spread(pixels.transpose(1, 2).reshape(joined.shape), maps), words
