"""DiCoR's residual U-Net: from image and coarse probability to a correction of the two logits.

Legend: `B` batch, `H W` pixels, `S` width of the first level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.init import zero
from rrsis_bench.nn.layers.losses import upsample
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision


class Conv(nn.Module):
    """3x3 convolution, batch norm and ReLU.

    Args:
        inputs: input channels.
        outputs: output channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Up(nn.Module):
    """Doubles the size, joins the map of the way down, and convolves twice.

    Args:
        inputs: channels from below; the output has half of them.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        outputs = inputs // 2
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv1 = Conv(inputs, outputs)
        self.conv2 = Conv(outputs, outputs)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """Join (B, inputs, h, w) and (B, inputs / 2, H, W) to (B, inputs / 2, H, W)."""
        larger = upsample(self.enlarge(x), (beside.shape[-2], beside.shape[-1]))
        joined: Tensor = self.conv2(self.conv1(torch.cat([larger, beside], 1)))
        return joined


class Refiner(nn.Module):
    """U-Net over the normalised image and the probability of the referent; it starts without any effect.

    Args:
        width: S.
        levels: how often the size is halved.
    """

    def __init__(self, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(Conv(before, after), Conv(after, after))
            for before, after in zip([4, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(Up(inputs) for inputs in reversed(widths[1:]))
        self.out = nn.Conv2d(width, 2, 1)
        zero(self.out)

    def forward(self, images: Tensor, probability: Tensor) -> Tensor:
        """Correction (B, 2, H, W), in float32 at least, of images (B, 3, H, W) and probabilities (B, 1, H, W)."""
        x = torch.cat([images, probability.to(images.dtype)], 1)
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, beside in zip(self.up, reversed(kept[:-1]), strict=True):
            x = up(x, beside)
        with full_precision(x.device):
            delta: Tensor = self.out(at_least_float32(x))
        return delta
