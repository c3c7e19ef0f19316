"""A 3x3 convolution of an enlarged map, computed at the small size.

Enlarging is linear, and a convolution is a sum over its nine taps. So the taps are applied to the small map as 1x1
convolutions, and shifted enlargement matrices spread them over the large one. A factor of two saves three quarters of
the convolution's operations. The result differs by rounding alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.forms import fast_on


def conv_of_enlarged(
    conv: nn.Conv2d, coarse: Tensor, size: tuple[int, int], align_corners: bool, beside: Tensor | None = None
) -> Tensor:
    """Convolve a bilinearly enlarged map, joined with a finer one.

    Equals `conv(torch.cat([F.interpolate(coarse, size, mode="bilinear", align_corners=align_corners), beside], 1))`.

    Args:
        conv: 3x3 convolution with padding 1 and without bias; its first input channels read the enlarged map.
        coarse: (B, C, h, w).
        size: (H, W) to enlarge to.
        align_corners: convention of the enlargement.
        beside: (B, D, H, W) to join behind the enlarged map; None joins nothing.

    Returns:
        (B, O, H, W).
    """
    height, width = coarse.shape[-2:]
    if not fast_on(coarse.device) or 2 * height * width > size[0] * size[1]:
        if (height, width) != size:
            coarse = F.interpolate(coarse, size, mode="bilinear", align_corners=align_corners)
        joined: Tensor = conv(coarse if beside is None else torch.cat([coarse, beside], 1))
        return joined
    channels = coarse.shape[1]
    spread = _spread(coarse, conv.weight[:, :channels], size, align_corners)
    return spread if beside is None else spread + F.conv2d(beside, conv.weight[:, channels:], padding=1)


def _spread(coarse: Tensor, weight: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Apply weights (O, C, 3, 3) to a map (B, C, h, w) tap by tap, and spread the taps over (B, O, *size)."""
    batch, channels, height, width = coarse.shape
    outputs = weight.shape[0]
    taps = weight.permute(0, 2, 3, 1).reshape(9 * outputs, channels)
    tapped = (taps @ coarse.reshape(batch, channels, -1)).view(batch, outputs, 3, 3, height, width)
    rows = _shifted_enlargement(height, size[0], align_corners, coarse)
    columns = _shifted_enlargement(width, size[1], align_corners, coarse)
    # The tap along an axis stands beside the axis, so that one product sums over both.
    across = tapped.transpose(3, 4).reshape(batch, outputs * 3 * height, 3 * width) @ columns.T
    return rows @ across.view(batch, outputs, 3 * height, size[1])


def _shifted_enlargement(small: int, large: int, align_corners: bool, like: Tensor) -> Tensor:
    """Enlargement along one axis for the taps before, at and behind a pixel.

    Returns:
        (large, 3 small). Rows beyond the border are zero, which is the convolution's padding.
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    axis = torch.eye(small, dtype=exact, device=like.device)[None]
    enlargement = F.interpolate(axis, large, mode="linear", align_corners=align_corners)[0].T
    padded = F.pad(enlargement, (0, 0, 1, 1))
    return torch.cat([padded[shift : shift + large] for shift in range(3)], 1).to(like.dtype)
