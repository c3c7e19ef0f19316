"""Cross-scale interaction (RMSIN, section 3.3): the maps of all stages attend to each other on one small grid.

This file holds the blocks; `rrsis_bench/nn/layers/multiscale.py` holds the shell (pooling, joining, splitting, gates).

Legend: `B` batch, `c` inner width (480), `g` side of the grid (15), `P` its g*g cells (225), `N` cells of all three
sizes (314), `H` heads (8), `K` width of keys per head (32), values are twice as wide (64).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.lavt.stage import Texts
from rrsis_bench.nn.layers.init import init_transformer
from rrsis_bench.nn.layers.multiscale import MultiScaleShell


class GridAttention(nn.Module):
    """Attention of the grid's cells to cells of three sizes.

    As in the released network, two tensors are reshaped without a transpose, which mixes token and channel axes. The
    released parameters depend on it.

    Args:
        width: channels c of the tokens.
        cells: number P of the finest cells, which come first.
        tokens: number N of all cells.
        heads: attention heads H.
        key: width K of queries and keys per head.
    """

    def __init__(self, width: int, cells: int, tokens: int, heads: int, key: int) -> None:
        super().__init__()
        self.cells = cells
        self.heads = heads
        self.key = key
        values = 2 * key * heads
        self.project = nn.Linear(width, 2 * values, bias=False)
        self.project_bn = nn.BatchNorm1d(2 * values)
        self.gather = nn.Linear(tokens, cells)
        self.depthwise = nn.Conv2d(values, values, 3, padding=1, groups=values)
        self.output = nn.Linear(values, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend: tokens (B, N, c) to (B, P, c)."""
        batch, count, _ = tokens.shape
        projected = self.project_bn(self.project(tokens).flatten(0, 1))
        # Each head's query, key and value lie side by side.
        split = projected.view(batch, count, self.heads, 4 * self.key).transpose(1, 2)
        query, key, value = split.split((self.key, self.key, 2 * self.key), -1)
        attended = F.scaled_dot_product_attention(query, key, value, scale=self.key**-0.5)
        side = round(self.cells**0.5)
        gathered = self.gather(attended.transpose(1, 2).reshape(batch, -1, count))
        around = F.hardswish(value[:, :, : self.cells].reshape(batch, -1, side, side))
        mixed: Tensor = self.output((gathered + self.depthwise(around).flatten(2)).transpose(1, 2))
        return mixed


class CrossScaleAttention(nn.Module):
    """Attention over the grid and two coarser copies, which strided depthwise convolutions make.

    Args:
        width: channels c.
        grid: side g; the copies have sides ceil(g / 2) and ceil(g / 3).
        heads: attention heads H.
        key: width K of queries and keys per head.
    """

    def __init__(self, width: int, grid: int, heads: int, key: int) -> None:
        super().__init__()
        cells = [side * side for side in (grid, -(-grid // 2), -(-grid // 3))]
        self.grid = grid
        self.bn = nn.BatchNorm2d(width)
        self.coarse = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width)
        self.coarse_bn = nn.BatchNorm2d(width)
        self.coarser = nn.Conv2d(width, width, 5, stride=3, padding=2, groups=width)
        self.coarser_bn = nn.BatchNorm2d(width)
        self.attention = GridAttention(width, cells[0], sum(cells), heads, key)
        self.output_bn = nn.BatchNorm2d(width)
        self.output = nn.Conv2d(width, width, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Attend on the grid (B, c, g, g); the shape stays."""
        fine = self.bn(y)
        scales = (fine, self.coarse_bn(self.coarse(fine)), self.coarser_bn(self.coarser(fine)))
        tokens = torch.cat([scale.flatten(2) for scale in scales], 2).transpose(1, 2)
        mixed = self.attention(tokens).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        attended: Tensor = self.output(F.hardswish(self.output_bn(mixed)))
        return attended


class GridFeedForward(nn.Module):
    """Feed-forward layer: twice the width, a 3x3 convolution in groups of two channels, ReLU6, and back.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, hidden, 1)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=width)
        self.conv3 = nn.Conv2d(hidden, width, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Feed (B, width, g, g) forward; the shape stays."""
        fed: Tensor = self.conv3(F.relu6(self.conv2(self.bn2(self.conv1(self.bn1(y))))))
        return fed


class CIMBlock(nn.Module):
    """Attention, a feed-forward layer per stage's share of the channels, attention, one feed-forward layer for all.

    The shares' layers lie inside two residual connections, as released: their result is 2y + ff(y).

    Args:
        shares: channels of each stage's share.
        grid: side g of the grid.
        heads: attention heads H.
        key: width K of queries and keys per head.
    """

    def __init__(self, shares: Sequence[int], grid: int, heads: int, key: int) -> None:
        super().__init__()
        self.shares = list(shares)
        width = sum(shares)
        self.attention1 = CrossScaleAttention(width, grid, heads, key)
        self.share_feed = nn.ModuleList(GridFeedForward(share) for share in shares)
        self.attention2 = CrossScaleAttention(width, grid, heads, key)
        self.feed = GridFeedForward(width)

    def forward(self, y: Tensor) -> Tensor:
        """Run the block on (B, c, g, g); the shape stays."""
        y = y + self.attention1(y)
        shares = zip(self.share_feed, torch.split(y, self.shares, 1), strict=True)
        y = 2 * y + torch.cat([feed(share) for feed, share in shares], 1)
        y = y + self.attention2(y)
        fed: Tensor = y + self.feed(y)
        return fed


class CIM(nn.Module):
    """The cross-scale interaction module, which reads no language.

    Args:
        widths: channels of the stages' maps, each a multiple of 4.
        grid: side g of the grid that the maps are pooled to, a part of the parameters' shapes.
        heads: attention heads H.
        key: width K of queries and keys per head.
        blocks: number of blocks.
    """

    def __init__(self, widths: Sequence[int], grid: int = 15, heads: int = 8, key: int = 32, blocks: int = 1) -> None:
        super().__init__()
        self.shell = MultiScaleShell(widths, grid=grid)
        shares = [width // 4 for width in widths]
        self.blocks = nn.Sequential(*(CIMBlock(shares, grid, heads, key) for _ in range(blocks)))
        self.blocks.apply(init_transformer)

    def forward(self, maps: Sequence[Tensor], texts: Texts) -> list[Tensor]:
        """Refine maps (B, C_i, h_i, w_i), finest first; shapes stay, and the texts are ignored."""
        return self.shell.spread(self.blocks(self.shell.pool(maps)), maps)
