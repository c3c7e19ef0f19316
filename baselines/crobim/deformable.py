"""Multi-scale attention fusion: each token samples a few points of each level; each cell's received weight is counted.

The operator is that of deformable attention (Zhu et al., ICLR 2021, section 4.1).

Legend: `B` batch, `S` levels of `h_s w_s` cells, `N` tokens of all levels, finest first, `D` width, `M` heads, `K`
points per level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rrsis_bench.nn.layers.deformable import Sampling, Size, cell_centres, ring_offsets
from rrsis_bench.nn.layers.init import zero


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
