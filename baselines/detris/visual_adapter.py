"""The visual adapter of DETRIS: densely connected 2-D convolutions, then attention to the words.

Module and parameter names are those of the released checkpoint.
Legend: `B` batch, `C` encoder width, `d` bottleneck, `h w` map, `L` words of width `W`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rrsis_bench.families.detris.dense import DenseBottleneck
from rrsis_bench.nn.layers.init import kaiming_layer


class WordCrossAttention(nn.Module):
    """Cross-attention from map positions to words: project both, attend, project back.

    Args:
        width: channels d of the positions.
        words: width W of the words.
        inner: channels of the attention.
        heads: attention heads.
        dropout: dropout of the attention weights.
    """

    def __init__(self, width: int, words: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(inner, heads, dropout=dropout, batch_first=True)
        self.image_proj = nn.Linear(width, inner)
        self.text_proj = nn.Linear(words, inner)
        self.back_proj = nn.Linear(inner, width)

    def forward(self, positions: Tensor, words: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            positions: (B, N, d).
            words: (B, L, W).
            mask: (B, L) bool, True for real words; None if padding counts as words.

        Returns:
            (B, N, d).
        """
        keys = self.text_proj(words)
        padding = None if mask is None else ~mask
        gathered, _ = self.multihead_attn(
            self.image_proj(positions), keys, keys, key_padding_mask=padding, need_weights=False
        )
        back: Tensor = self.back_proj(gathered)
        return back


class DenseVisualAdapter(DenseBottleneck):
    """Dense convolutions over the map in a bottleneck; their result attends to the words and is replaced by the output.

    The prefix tokens bypass both. All linear and convolutional layers start Kaiming-normal with zero biases; only the
    factor of the output keeps the encoder near its start.

    Args:
        width: channels C of the encoder.
        bottleneck: channels d.
        words: width W of the words.
        cross_width: channels of the cross-attention.
        heads: attention heads.
        dropout: dropout of the attention weights.
        scale: fixed factor of the output.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        words: int,
        cross_width: int = 128,
        heads: int = 8,
        dropout: float = 0.1,
        scale: float = 0.2,
    ) -> None:
        super().__init__(2, width, bottleneck)
        self.scale = scale
        self.cross = WordCrossAttention(bottleneck, words, cross_width, heads, dropout)
        for module in self.modules():
            # `isinstance`, because the attention's output projection, a subclass of a linear layer, is one of them.
            if isinstance(module, nn.Linear | nn.Conv2d):
                kaiming_layer(module)

    def forward(self, tokens: Tensor, grid: tuple[int, int], prefix: int, words: Tensor, mask: Tensor | None) -> Tensor:
        """Adapt a block's tokens.

        Args:
            tokens: (B, prefix + h * w, C).
            grid: (h, w); the released code takes square grids only.
            prefix: number of tokens before those of the map.
            words: (B, L, W) final word features.
            mask: (B, L) bool, True for real words; None if padding counts as words.

        Returns:
            what to add to the MLP's output, of the tokens' shape.
        """
        down = torch.relu(self.D_fc1(tokens))
        maps = down[:, prefix:].transpose(1, 2).reshape(len(down), -1, *grid)
        positions = (self.dense(maps) + maps).flatten(2).transpose(1, 2)
        attended = self.cross(positions, words, mask)
        adapted: Tensor = self.D_fc2(torch.cat((down[:, :prefix], attended), dim=1) + down)
        return self.scale * adapted
