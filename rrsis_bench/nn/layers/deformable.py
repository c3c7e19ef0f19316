"""Deformable attention (Zhu et al., ICLR 2021, section 4.1): each query samples a few points of each level.

Legend: `B` batch, `S` levels of `h_s w_s` cells, `N` tokens of all levels, finest first, `Q` queries, `D` width, `M`
heads, `K` points per level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.init import zero

Size = tuple[int, int]


@dataclass(frozen=True)
class Sampling:
    """Sampling points in one level, and their weights.

    Attributes:
        size: cells (h_s, w_s) of the level.
        x: (B, M, Q, K) columns; the map spans [0, 1].
        y: (B, M, Q, K) rows; the map spans [0, 1].
        weight: (B, M, Q, K); the weights of all levels and points sum to 1.
    """

    size: Size
    x: Tensor
    y: Tensor
    weight: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Weighted sums (B, Q, D) of a level's values (B, h_s * w_s, M, D / M), sampled bilinearly, zero beyond it."""
        batch, _, heads, _ = values.shape
        maps = values.permute(0, 2, 3, 1).reshape(batch * heads, -1, *self.size)
        grid = torch.stack((self.x, self.y), -1).flatten(0, 1) * 2 - 1
        sampled = F.grid_sample(maps.to(grid.dtype), grid, align_corners=False)  # (B * M, D / M, Q, K)
        summed = (sampled * self.weight.flatten(0, 1)[:, None]).sum(-1)
        return summed.reshape(batch, -1, summed.shape[-1]).transpose(1, 2)

    def mass(self) -> Tensor:
        """Sum of weights in each cell (B, h_s * w_s); a point counts for the cell that it lies in."""
        height, width = self.size
        inside = (self.x >= 0) & (self.x < 1) & (self.y >= 0) & (self.y < 1)
        column = (self.x * width).long().clamp(0, width - 1)
        row = (self.y * height).long().clamp(0, height - 1)
        fallen = (self.weight * inside).flatten(1)
        return fallen.new_zeros(len(fallen), height * width).scatter_add_(1, (row * width + column).flatten(1), fallen)


def cell_centres(sizes: Sequence[Size], like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows in [0, 1] of all levels' cell centres, (N,) each, in float32 at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)  # in bfloat16 neighbouring centres would be equal
    columns, rows = [], []
    for height, width in sizes:
        x = (torch.arange(width, device=like.device, dtype=dtype) + 0.5) / width
        y = (torch.arange(height, device=like.device, dtype=dtype) + 0.5) / height
        columns.append(x.repeat(height))
        rows.append(y.repeat_interleave(width))
    return torch.cat(columns), torch.cat(rows)


def ring_offsets(heads: int, levels: int, points: int) -> Tensor:
    """Initial offsets in cells: each head has its own direction, and its k-th point lies k cells away.

    Returns:
        (M * S * K * 2,), x before y.
    """
    angles = [2 * math.pi * head / heads for head in range(heads)]
    # Scaled onto the square around the centre: the points fall on cells.
    unit = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])
    unit = unit / unit.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1)
    return (unit[:, None, None] * steps[:, None]).expand(heads, levels, points, 2).flatten()


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention: points lie around a reference that each query brings for each level.

    Args:
        width: D.
        heads: M.
        levels: S.
        points: K.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.shape = (heads, levels, points)
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        for layer in (self.sampling_offsets, self.attention_weights):
            zero(layer)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring_offsets(*self.shape))

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        memory: Tensor,
        sizes: Sequence[Size],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, D) with position codes.
            references: (B, Q, S, 2) points x, y, or (B, Q, S, 4) boxes cx, cy, w, h; a level's map spans [0, 1].
                Offsets count cells around a point, and K-ths of half the box's sides around a box.
            memory: (B, N, D) tokens of all levels.
            sizes: cells (h_s, w_s) of each level.
            padding: (B, N) bool, True for tokens whose value is zero.

        Returns:
            (B, Q, D).
        """
        heads, levels, points = self.shape
        values = self.value_proj(memory)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0.0)
        values = values.unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(queries).unflatten(-1, (heads, levels, points, 2)).to(references.dtype)
        weights = self.attention_weights(queries).unflatten(-1, (heads, -1)).to(references.dtype).softmax(-1)
        weights = weights.unflatten(-1, (levels, points))
        split = torch.split(values, [height * width for height, width in sizes], 1)
        gathered = torch.zeros_like(queries, dtype=references.dtype)
        for level, (size, one) in enumerate(zip(sizes, split, strict=True)):
            near, moved = (
                references[:, :, level, None, None],
                offsets[:, :, :, level],
            )  # (B, Q, 1, 1, .), (B, Q, M, K, 2)
            places = []
            for axis in (0, 1):
                # As a plain number; a tensor of sizes would make the host wait for the device.
                unit = 1 / size[1 - axis] if near.shape[-1] == 2 else near[..., 2 + axis] * 0.5 / points
                places.append((near[..., axis] + moved[..., axis] * unit).transpose(1, 2))
            sampling = Sampling(size, places[0], places[1], weights[:, :, :, level].transpose(1, 2))
            gathered = gathered + sampling.gather(one)
        attended: Tensor = self.output_proj(gathered.to(values.dtype))
        return attended
