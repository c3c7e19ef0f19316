"""The shell in which RMSIN (CVPR 2024) and FIANet mix the maps of all stages before decoding them.

The shell pools all maps to one small grid, joins and narrows them. The method's own blocks work there. The shell then
widens the result, splits it by stage, and gates each map with its part. RMSIN calls the whole CIM, FIANet TMEM; only
the blocks and the grid differ.

Legend: `B` batch, `C_i h_i w_i` width and size of the i-th map (finest first), `c` inner width, `gh gw` grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaleGate(nn.Module):
    """Merges a map F with its part G of the grid: out = l(F) * up(hardsigmoid(a(G))) + up(g(G)).

    Each of l, a and g is a 1x1 convolution and a batch norm.

    Args:
        width: channels C of the map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(width, width, 1)
        self.local_bn = nn.BatchNorm2d(width)
        self.keep = nn.Conv2d(width, width, 1)
        self.keep_bn = nn.BatchNorm2d(width)
        self.add = nn.Conv2d(width, width, 1)
        self.add_bn = nn.BatchNorm2d(width)

    def forward(self, features: Tensor, found: Tensor) -> Tensor:
        """Merge a map (B, C, h, w) with its part of the grid (B, C, gh, gw); returns (B, C, h, w)."""
        size = (features.shape[-2], features.shape[-1])
        keep = _enlarge(F.hardsigmoid(self.keep_bn(self.keep(found))), size)
        add = _enlarge(self.add_bn(self.add(found)), size)
        gated: Tensor = self.local_bn(self.local(features)) * keep + add
        return gated


def _enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly without aligned corners; everything else in LAVT's family aligns corners."""
    return F.interpolate(features, size, mode="bilinear", align_corners=False)


class MultiScaleShell(nn.Module):
    """Pools the maps to a grid and spreads the grid over the maps again; a method's blocks work between the two.

    Args:
        widths: channels C_i of the maps, finest first.
        inner: width c on the grid; None is a quarter of the sum of widths, as published (480 of 1920).
        grid: side of the grid; None takes the last map's own size.
    """

    def __init__(self, widths: Sequence[int], inner: int | None = None, grid: int | None = None) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.inner = sum(widths) // 4 if inner is None else inner
        self.grid = grid
        self.down = nn.Conv2d(sum(widths), self.inner, 1)
        self.bn = nn.BatchNorm2d(self.inner)
        self.up = nn.Conv2d(self.inner, sum(widths), 1)
        self.gates = nn.ModuleList(ScaleGate(width) for width in widths)

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Average the maps (B, C_i, h_i, w_i) over the cells of the grid, join and narrow them: (B, c, gh, gw)."""
        last = maps[-1]
        size = (last.shape[-2], last.shape[-1]) if self.grid is None else (self.grid, self.grid)
        pooled: Tensor = self.down(torch.cat([F.adaptive_avg_pool2d(one, size) for one in maps], 1))
        return pooled

    def spread(self, y: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Merge each map with its part of the grid.

        Args:
            y: (B, c, gh, gw) from the method's blocks.
            maps: the arguments of `pool`.

        Returns:
            maps of the same shapes.
        """
        parts = self.up(self.bn(y)).split(self.widths, 1)
        return [gate(one, part) for gate, one, part in zip(self.gates, maps, parts, strict=True)]


def shell_names(official: str, ours: str, gates: str = "fusion") -> dict[str, str]:
    """Released module names of a shell -> ours, for a `NameMap`.

    Args:
        official: released name of the shell.
        ours: our name of it.
        gates: released name of its list of gates.
    """
    inner = {
        "local_embedding": "local",
        "bn1": "local_bn",
        "global_act": "keep",
        "bn3": "keep_bn",
        "global_embedding": "add",
        "bn2": "add_bn",
    }
    return {
        f"{official}.down_channel": f"{ours}.down",
        f"{official}.up_channel": f"{ours}.up",
        f"{official}.bn": f"{ours}.bn",
        **{f"{official}.{gates}.*.{theirs}": f"{ours}.gates.*.{name}" for theirs, name in inner.items()},
    }
