"""FIANet's text-aware multi-scale enhancement module (TMEM) on the four stage maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures, Texts
from rrsis_bench.nn.layers.fusion import WordAttention
from rrsis_bench.nn.layers.init import init_transformer
from rrsis_bench.nn.layers.multiscale import MultiScaleShell


class TextAwareBlock(nn.Module):
    """Pixels of the joined map attend to the expression, then a feed-forward layer; both have a residual connection.

    Args:
        width: channels D of the joined map.
        text_width: width Ct of the words.
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WordAttention(width, text_width)
        self.norm2 = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        # The attention keeps PyTorch's initialisation: its layers are 1x1 convolutions in the released network.
        self.feed.apply(init_transformer)

    def forward(self, pixels: Tensor, words: TextFeatures) -> Tensor:
        """Run the block on pixels (B, n, D); the shape stays."""
        pixels = pixels + self.attention(self.norm1(pixels), words.states, words.mask)
        fed: Tensor = pixels + self.feed(self.norm2(pixels))
        return fed


class TMEM(nn.Module):
    """Joins all maps at the size of the coarsest, runs blocks on them, and spreads the result over the maps.

    Args:
        widths: channels of the maps, finest first.
        text_width: width Ct of the words.
        blocks: number of blocks K.
    """

    def __init__(self, widths: Sequence[int], text_width: int, blocks: int) -> None:
        super().__init__()
        self.shell = MultiScaleShell(widths)
        self.blocks = nn.ModuleList(TextAwareBlock(self.shell.inner, text_width) for _ in range(blocks))

    def forward(self, maps: Sequence[Tensor], texts: Texts) -> list[Tensor]:
        """Refine maps (B, C_i, h_i, w_i), finest first; shapes stay."""
        joined = self.shell.pool(maps)
        pixels = joined.flatten(2).transpose(1, 2)
        for block in self.blocks:
            pixels = block(pixels, texts[CONTEXT])
        return self.shell.spread(pixels.transpose(1, 2).reshape(joined.shape), maps)
