"""The decoder of DETRIS (AAAI 2025, arXiv 2501.08580): pixels attend to each other and to the words.

Module and parameter names are those of the released checkpoint.
"""

from __future__ import annotations

from torch import Tensor, nn

from rrsis_bench.nn.layers.dropped import MultiheadAttention
from rrsis_bench.nn.layers.positions import sine_1d, sine_2d


class DetrisDecoderLayer(nn.Module):
    """Pre-norm transformer layer with a further LayerNorm on the output of each attention.

    Args:
        width: channels D of pixels and words.
        heads: attention heads.
        ffn: hidden width of the feed-forward part.
        dropout: rate in attention, feed-forward and residuals.
    """

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(width)
        self.cross_attn_norm = nn.LayerNorm(width)
        self.self_attn = MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.LayerNorm(ffn), nn.Linear(ffn, width)
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, pixels: Tensor, words: Tensor, padding: Tensor, where: Tensor, order: Tensor) -> Tensor:
        """Attend among pixels, then from pixels to words, then feed forward.

        Args:
            pixels: (B, h * w, D).
            words: (B, L, D).
            padding: (B, L) bool, True where a word is padding.
            where: (h * w, D) position codes of the pixels.
            order: (L, D) position codes of the words.

        Returns:
            pixels (B, h * w, D).
        """
        value = self.norm1(pixels)
        query = value + where
        attended, _ = self.self_attn(query, query, value, need_weights=False)
        pixels = pixels + self.drop(self.self_attn_norm(attended))
        attended, _ = self.multihead_attn(
            self.norm2(pixels) + where, words + order, words, key_padding_mask=padding, need_weights=False
        )
        pixels = pixels + self.drop(self.cross_attn_norm(attended))
        refined: Tensor = pixels + self.drop(self.ffn(self.norm3(pixels)))
        return refined


class DetrisDecoder(nn.Module):
    """A stack of decoder layers with a final LayerNorm.

    Args:
        width: channels D, a multiple of 4.
        heads: attention heads.
        ffn: hidden width of the feed-forward parts.
        layers: number of layers.
        dropout: dropout rate.
    """

    def __init__(self, width: int = 512, heads: int = 8, ffn: int = 512, layers: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DetrisDecoderLayer(width, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """Refine a map by words.

        Args:
            maps: (B, D, h, w).
            words: (B, L, D).
            padding: (B, L) bool, True where a word is padding.

        Returns:
            (B, D, h, w).
        """
        _, width, height, columns = maps.shape
        where = sine_2d(height, columns, width, like=maps)
        order = sine_1d(words.shape[1], width, like=words)
        pixels = maps.flatten(2).transpose(1, 2)
        for layer in self.layers:
            pixels = layer(pixels, words, padding, where, order)
        decoded: Tensor = self.norm(pixels)
        return decoded.transpose(1, 2).reshape(-1, width, height, columns)
