"""Fixed sine position codes for words and for feature maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_1d(length: int, width: int, like: Tensor) -> Tensor:
    """Sine and cosine codes of positions 0 … length - 1, interleaved channel by channel.

    Args:
        length: number of positions L.
        width: number of channels D, even.
        like: tensor that gives device and type.

    Returns:
        (L, D); channels 2i and 2i + 1 hold sin and cos of position / 10000^(2i / D).
    """
    channels = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    rates = torch.exp(channels * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(like.dtype)


def sine_2d(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Codes of a map's positions: the first half of the channels codes the column, the second half the row.

    Args:
        height: rows of the map.
        width: columns of the map.
        channels: number of channels, a multiple of 4.
        like: tensor that gives device and type.

    Returns:
        (height * width, channels), row by row.
    """
    half = channels // 2
    columns = sine_1d(width, half, like)[None].expand(height, width, half)
    rows = sine_1d(height, half, like)[:, None].expand(height, width, half)
    return torch.cat((columns, rows), dim=-1).flatten(0, 1)


def coordinate_maps(maps: Tensor) -> Tensor:
    """Column and row coordinates in [-1, 1] for maps (B, C, h, w).

    Returns:
        (B, 2, h, w): x, then y.
    """
    batch, _, height, width = maps.shape
    # In float32 whatever the maps' type is, as in the published networks; in float64 the difference shows.
    x = torch.linspace(-1, 1, width, device=maps.device).expand(height, width)
    y = torch.linspace(-1, 1, height, device=maps.device)[:, None].expand(height, width)
    return torch.stack((x, y)).to(maps.dtype).expand(batch, -1, -1, -1)
