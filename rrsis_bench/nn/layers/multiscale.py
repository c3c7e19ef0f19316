"""The shell in which RMSIN (CVPR 2024) and FIANet mix the maps of all stages before decoding them.

All maps are pooled to one small grid, joined and narrowed; the method's own blocks work there; the result is widened,
split by stage again, and tells each map what to keep and what to add. RMSIN calls it CIM, FIANet TMEM; they differ in
the blocks and in the grid alone.

Legend: `B` batch, `C_i h_i w_i` width and size of the i-th map (finest first), `c` inner width, `gh gw` grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaleGate(nn.Module):
    """How a map takes up what was found on the grid: out = l(F) * up(hardsigmoid(a(G))) + up(g(G)).

    l, a and g are a 1x1 convolution and a batch norm each.

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
        """Map (B, C, h, w) and its part of the grid (B, C, gh, gw) to (B, C, h, w)."""
        size = (features.shape[-2], features.shape[-1])
        keep = _enlarge(F.hardsigmoid(self.keep_bn(self.keep(found))), size)
        add = _enlarge(self.add_bn(self.add(found)), size)
        gated: Tensor = self.local_bn(self.local(features)) * keep + add
        return gated


def _enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear without aligned corners, unlike everything else in the family."""
    return F.interpolate(features, size, mode="bilinear", align_corners=False)


class MultiScaleShell(nn.Module):
    """Pool and join the maps, and spread what was made of them; the blocks between are the method's.

    Args:
        widths: channels C_i of the maps, finest first.
        inner: width c on the grid; None is a quarter of the sum of widths, as published (480 of 1920).
        grid: side of the grid; None takes the last map's own size, whatever it is.
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
        """Give each map its part of the grid.

        Args:
            y: (B, c, gh, gw) from the method's blocks.
            maps: what `pool` was given.

        Returns:
            maps of the same shapes.
        """
        parts = self.up(self.bn(y)).split(self.widths, 1)
        return [gate(one, part) for gate, one, part in zip(self.gates, maps, parts, strict=True)]


def shell_names(official: str, ours: str) -> dict[str, str]:
    """Released module names of a shell against ours, for a `NameMap`."""
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
        **{f"{official}.fusion.*.{theirs}": f"{ours}.gates.*.{name}" for theirs, name in inner.items()},
    }
