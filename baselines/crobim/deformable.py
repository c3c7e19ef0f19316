"""Multi-scale attention fusion: each token samples a few points of each level; each cell's received weight is counted.

The operator is that of deformable attention (Zhu et al., ICLR 2021, section 4.1).

Legend: `B` batch, `S` levels of `h_s w_s` cells, `N` tokens of all levels, finest first, `D` width, `M` heads, `K`
points per level.
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
        x: (B, M, N, K) columns; the map spans [0, 1].
        y: (B, M, N, K) rows; the map spans [0, 1].
        weight: (B, M, N, K); the weights of all levels and points sum to 1.
    """

    size: Size
    x: Tensor
    y: Tensor
    weight: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Weighted sums (B, N, D) of a level's values (B, h_s * w_s, M, D / M), sampled bilinearly, zero beyond it."""
        batch, _, heads, _ = values.shape
        maps = values.permute(0, 2, 3, 1).reshape(batch * heads, -1, *self.size)
        grid = torch.stack((self.x, self.y), -1).flatten(0, 1) * 2 - 1
        sampled = F.grid_sample(maps.to(grid.dtype), grid, align_corners=False)  # (B * M, D / M, N, K)
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


class LevelFusion(nn.Module):
    """Every token samples all levels.

    Args:
        width: D.
        heads: M.
        levels: S.
        points: K.
        deformable: the query predicts the points; else there is one point per level, at the token's own position.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int, deformable: bool = True) -> None:
        super().__init__()
        points = points if deformable else 1
        self.shape = (heads, levels, points)
        self.offsets = nn.Linear(width, heads * levels * points * 2) if deformable else None
        self.weights = nn.Linear(width, heads * levels * points)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        zero(self.weights)
        if self.offsets is not None:
            zero(self.offsets)
            with torch.no_grad():
                self.offsets.bias.copy_(ring_offsets(*self.shape))

    def samplings(self, queries: Tensor, sizes: Sequence[Size]) -> list[Sampling]:
        """Sampling points of queries (B, N, D) of all levels, one entry per level."""
        x, y = cell_centres(sizes, queries)
        heads, levels, points = self.shape
        weights = self.weights(queries).unflatten(-1, (heads, -1)).to(x.dtype).softmax(-1)
        weights = weights.unflatten(-1, (levels, points)).permute(3, 0, 2, 1, 4)  # (S, B, M, N, K)
        if self.offsets is None:
            here = torch.zeros_like(weights)
            moved = torch.stack((here, here), -1)
        else:
            offsets = self.offsets(queries).unflatten(-1, (heads, levels, points, 2))
            moved = offsets.to(x.dtype).permute(3, 0, 2, 1, 4, 5)
        return [
            Sampling((height, width), x[:, None] + moved[s, ..., 0] / width, y[:, None] + moved[s, ..., 1] / height, w)
            for s, ((height, width), w) in enumerate(zip(sizes, weights, strict=True))
        ]

    def forward(self, queries: Tensor, tokens: Tensor, sizes: Sequence[Size]) -> tuple[Tensor, list[Sampling]]:
        """Fuse the levels.

        Args:
            queries: (B, N, D) tokens with position codes.
            tokens: (B, N, D) tokens to sample.
            sizes: cells (h_s, w_s) of each level.

        Returns:
            (B, N, D), and the sampling points per level.
        """
        samplings = self.samplings(queries, sizes)
        values = self.value(tokens).unflatten(-1, (self.shape[0], -1))
        split = torch.split(values, [height * width for height, width in sizes], 1)
        gathered = torch.stack([sampling.gather(one) for sampling, one in zip(samplings, split, strict=True)]).sum(0)
        fused: Tensor = self.output(gathered.to(values.dtype))
        return fused, samplings


def mass_deficit(samplings: Sequence[Sampling]) -> Tensor:
    """Deficit (B, N) in [0, 1]: how far a cell's received weight lies below the mean of all cells. No gradient."""
    with torch.no_grad():
        mass = torch.cat([sampling.mass() for sampling in samplings], 1)
        return (1 - mass / mass.mean(1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)).clamp(0, 1)


def level_deficit(samplings: Sequence[Sampling]) -> Tensor:
    """Deficit (B, N) in [0, 1]: the weight that a token gives to other levels than its own. No gradient."""
    with torch.no_grad():
        cells = [sampling.size[0] * sampling.size[1] for sampling in samplings]
        own = [torch.split(sampling.weight.sum(-1).mean(1), cells, 1)[s] for s, sampling in enumerate(samplings)]
        return (1 - torch.cat(own, 1)).clamp(0, 1)
