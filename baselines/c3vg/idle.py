"""Parts of the released network that are never called, or whose output nothing reads.

They count among the published parameters, and released files hold them.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from baselines.c3vg.layers import Stack


class IdleParts(nn.Module):
    """Modules that run nowhere.

    Args:
        width: D.
        heads: attention heads.
        hidden: width inside the feed-forward parts.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.places_read_words = Stack(1, width, heads, hidden)
        self.places_read_places = Stack(3, width, heads, hidden)
        self.places_read_box = Stack(3, width, heads, hidden)
        self.first_mask, self.second_mask = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 1, 1)
        self.mask_consistency = nn.Linear(width, width, bias=False)
        self.box_consistency = nn.Linear(width, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
