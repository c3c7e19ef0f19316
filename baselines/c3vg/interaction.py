"""Stage 2's interaction: the first box and mask re-weight the map, and the box asks again.

Legend: `B` batch, `g` side of the map, `L` words, `D` width. Boxes are cxcywh in [0, 1] of the image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.c3vg.layers import Stack, ThreeLayers
from rrsis_bench.nn.layers.boxes import to_xyxy

OUTSIDE = 0.1
"""Weight of the places outside the first box; those inside have 1."""

BoxPooling = Literal["released", "scaled"]


class Interaction(nn.Module):
    """The "mask-guided interaction module" in its released form, which joins mask, box, both and neither.

    Args:
        width: D.
        heads: attention heads.
        hidden: width inside the feed-forward parts.
        dropout: see `QueryLayer`.
        pooling: which cells the box feature is the maximum of: `scaled` takes those that the box touches, `released`
            takes the box for cell numbers, and so 1 to 9 cells of the top left corner whatever the box.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, pooling: BoxPooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.project = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.coordinates = nn.Linear(4, width)
        self.join_box = ThreeLayers(2 * width, width, width)
        self.join_places = ThreeLayers(4 * width, width, width)
        self.box_reads_words = Stack(1, width, heads, hidden, dropout)
        self.box_reads_places = Stack(3, width, heads, hidden, dropout)
        self.places = Stack(3, width, heads, hidden, dropout, reads=False)

    def image(self, maps: Tensor) -> Tensor:
        """The projected map F (B, D, g, g), not negative."""
        return F.relu(self.norm(self.project(maps)))

    def box_query(self, features: Tensor, box: Tensor) -> Tensor:
        """The box (B, 4) and the features (B, D, g, g) at its place as a query (B, D)."""
        cells = corner_cells if self.pooling == "released" else touched_cells
        # The features are not negative: a box without cells gives zeros, as RoI pooling does.
        pooled = (features * cells(box, features.shape[-1])[:, None].to(features.dtype)).amax((2, 3))
        query: Tensor = self.join_box(torch.cat((pooled, self.coordinates(box.to(pooled.dtype))), -1))
        return query

    def place_tokens(self, features: Tensor, box: Tensor, mask: Tensor) -> Tensor:
        """The features weighted by mask, by box, by both and by neither, for each place, row by row.

        Args:
            features: (B, D, g, g).
            box: (B, 4).
            mask: (B, 1, g, g) logits.

        Returns:
            (B, g^2, D).
        """
        p = mask.sigmoid().to(features.dtype)
        inside = touched_cells(box, features.shape[-1])[:, None].to(features.dtype)
        weight = OUTSIDE + (1 - OUTSIDE) * inside
        joined = torch.cat((features * p, features * weight, features * p * weight, features), 1)
        tokens: Tensor = self.join_places(joined.flatten(2).transpose(1, 2))
        return tokens

    def forward(
        self, maps: Tensor, box: Tensor, mask: Tensor, words: Tensor, padding: Tensor, code: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine.

        Args:
            maps: (B, D, g, g).
            box: (B, 4), the first box.
            mask: (B, 1, g, g) logits of the first mask.
            words: (B, L, D).
            padding: (B, L) bool, True for padding.
            code: (1, g^2, D) positions of the places.

        Returns:
            the second box's query (B, D), and the refined map (B, D, g, g).
        """
        features = self.image(maps)
        places = self.place_tokens(features, box, mask)
        query = self.box_reads_words(self.box_query(features, box)[:, None], words, padding=padding)
        query = self.box_reads_places(query, places, memory_code=code)
        refined = self.places(places, code=code)
        return query[:, 0], refined.transpose(1, 2).unflatten(2, maps.shape[-2:])


def touched_cells(boxes: Tensor, side: int) -> Tensor:
    """Cells of a square map that boxes (B, 4) touch: (B, side, side) bool, rows first. No gradient."""
    low, high = _corners(boxes, side)
    return _between(low.floor(), high.ceil() - 1, side)


def corner_cells(boxes: Tensor, side: int) -> Tensor:
    """Cells that RoI pooling at scale 1 takes for boxes (B, 4) in [0, 1]; see `touched_cells`.

    It rounds the corners to cell numbers, halves away from zero, and takes one cell at least.
    """
    low, high = (_round_away(corner) for corner in _corners(boxes, 1))
    return _between(low, torch.maximum(low, high), side)


def _corners(boxes: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """Top left and bottom right corners (B, 2) in units of 1 / scale."""
    corners = to_xyxy(boxes.detach()) * scale
    return corners[..., :2], corners[..., 2:]


def _between(first: Tensor, last: Tensor, side: int) -> Tensor:
    """Whether a cell's column and row lie between those of two cells (B, 2), both included: (B, side, side)."""
    place = torch.arange(side, device=first.device)
    columns, rows = ((place >= first[..., None]) & (place <= last[..., None])).unbind(1)
    return rows[:, :, None] & columns[:, None]


def _round_away(x: Tensor) -> Tensor:
    return x.sign() * (x.abs() + 0.5).floor()
