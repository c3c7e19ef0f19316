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


def counted_sine_1d(mask: Tensor, width: int, like: Tensor) -> Tensor:
    """Codes of words by their share of the expression: the count of real words up to each, over all of them, is 2 pi.

    Args:
        mask: (B, L) bool, True for real words.
        width: number of channels D, even.
        like: tensor that gives the type; angles are computed in float32 at least.

    Returns:
        (B, L, D), sine and cosine interleaved.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    return _codes(_shares(mask.to(dtype).cumsum(1), 0.0, 1), width).to(like.dtype)


def counted_sine_2d(padding: Tensor, channels: int, like: Tensor, shift: float = 0.5) -> Tensor:
    """Codes of a padded map's cells by their share of the valid rows and columns, as DETR's normalised codes.

    Args:
        padding: (B, h, w) bool, True for padding.
        channels: number of channels D, a multiple of 4.
        like: tensor that gives the type; angles are computed in float32 at least.
        shift: taken off each count, in cells: 0.5 codes a cell's centre, 0 its far edge.

    Returns:
        (B, h, w, D): the first half of the channels codes the row, the second half the column.
    """
    valid = (~padding).to(torch.promote_types(like.dtype, torch.float32))
    codes = [_codes(_shares(valid.cumsum(axis), shift, axis), channels // 2) for axis in (1, 2)]
    return torch.cat(codes, -1).to(like.dtype)


def _shares(counts: Tensor, shift: float, axis: int) -> Tensor:
    """Angles of cumulated counts: (count - shift) of the last count along the axis is 2 pi."""
    last = counts.select(axis, -1).unsqueeze(axis)
    return (counts - shift) / (last + 1e-6) * (2 * math.pi)


def _codes(angles: Tensor, width: int) -> Tensor:
    """Angles (...) to (..., width): sine and cosine of angle / 10000^(2i / width), interleaved."""
    channels = torch.arange(0, width, 2, device=angles.device, dtype=angles.dtype)
    scaled = angles[..., None] / 10000.0 ** (channels / width)
    return torch.stack((scaled.sin(), scaled.cos()), -1).flatten(-2)


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
