"""Candidate places of a referent: peaks of a response map, and a small normalised map around each.

The five picks of an image follow each other, those of a batch happen together, and nothing is read back by the host.

Legend: `B` batch, `h w` grid, `K` candidates, `C` channels of the visual map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

TIE = 1e-12
"""A peak may lie this far below the largest value around it."""
TINY = 1e-8


@dataclass(frozen=True)
class PickRule:
    """How candidates are picked; the defaults are the released ones for a grid of 30 x 30.

    Attributes:
        count: number of candidates K.
        window: side of the square in which a peak is the largest value.
        least: smallest value of a peak.
        radius: pixels around a picked centre that cannot be picked again.
        sigma: deviation in pixels of the Gaussian around a centre.
        mass: a candidate whose weighted response sums to no more than this is not valid.
    """

    count: int = 5
    window: int = 3
    least: float = 0.05
    radius: float = 2.0
    sigma: float = 1.5
    mass: float = TINY


@dataclass(frozen=True)
class Candidates:
    """The candidates of a batch.

    Attributes:
        maps: (B, K, h, w), each with the sum 1; zero where invalid.
        centres: (B, K, 2) row and column of the peak; zero for an empty place.
        valid: (B, K) bool.
    """

    maps: Tensor
    centres: Tensor
    valid: Tensor


@torch.no_grad()
def pick(response: Tensor, rule: PickRule) -> Candidates:
    """Pick the highest peaks one after another.

    Args:
        response: (B, 1, h, w) in [0, 1], in float32 at least.
        rule: see `PickRule`.
    """
    height, width = response.shape[-2:]
    around = F.max_pool2d(response, rule.window, stride=1, padding=rule.window // 2)
    peak = ((response >= around - TIE) & (response >= rule.least)).flatten(1)
    values = response.flatten(1)
    lowest = torch.full_like(values, -torch.inf)
    # Without any peak, every pixel may be picked.
    work = torch.where(peak | ~peak.any(1, keepdim=True), values, lowest)
    place = torch.arange(height * width, device=response.device)
    rows, columns = (place // width).to(values.dtype), (place % width).to(values.dtype)
    maps, centres, valid = [], [], []
    for _ in range(rule.count):
        top = work.amax(1, keepdim=True)
        # The first of equal values; `argmax` promises no order.
        first = torch.where(work == top, place, height * width).amin(1, keepdim=True)
        there = top > -torch.inf
        row, column = (first // width).to(values.dtype), (first % width).to(values.dtype)
        apart = (rows - row).square() + (columns - column).square()
        weighted = values * torch.exp(-apart / (2 * rule.sigma**2))
        mass = weighted.sum(1, keepdim=True)
        good = there & (mass > rule.mass)
        maps.append(torch.where(good, weighted / mass.clamp(min=rule.mass), 0.0))
        centres.append(torch.cat([row, column], 1) * there)
        valid.append(good[:, 0])
        work = torch.where(apart <= rule.radius**2, lowest, work)
    stacked = torch.stack(maps, 1).view(len(values), -1, height, width)
    return Candidates(stacked, torch.stack(centres, 1), torch.stack(valid, 1))


def shapes(found: Candidates) -> Tensor:
    """Where each candidate lies and how far it spreads: (B, K, 5).

    The numbers are x and y of the centre, the share of the image that the map covers, and the deviations in x and y.
    Places are in [-1, 1]. An invalid candidate has zeros.
    """
    maps = found.maps
    height, width = maps.shape[-2:]
    y, x = (torch.linspace(-1, 1, side, dtype=maps.dtype, device=maps.device) for side in (height, width))
    across, down = maps.sum(2), maps.sum(3)
    total = maps.sum((2, 3)).clamp(min=TINY)
    spread = []
    for profile, axis in ((across, x), (down, y)):
        mean = (profile * axis).sum(2) / total
        variance = (profile * (axis - mean[..., None]).square()).sum(2) / total
        spread.append(variance.clamp(min=1e-12).sqrt())
    area = 1 / maps.square().sum((2, 3)).clamp(min=TINY) / (height * width)
    centre_y = 2 * found.centres[..., 0] / max(height - 1, 1) - 1
    centre_x = 2 * found.centres[..., 1] / max(width - 1, 1) - 1
    return torch.stack([centre_x, centre_y, area, *spread], 2) * found.valid[..., None]


def describe(features: Tensor, found: Candidates) -> Tensor:
    """The visual features (B, K, C) of candidates: means of a map (B, C, h, w) under each one's weights."""
    return torch.einsum("bchw,bkhw->bkc", features, found.maps.to(features.dtype))
