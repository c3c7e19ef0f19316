"""Four scales from the refined map, and their decoding to a map of stride 4.

Legend: `B` batch, `g` side of the refined map, `D` width.
"""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.lavt.decoder import DecoderStep

EPS = 1e-5


class Pyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32, each projected and smoothed alone; no scale reads another.

    Args:
        width: D; the maps have D / 4, D / 2, D and 2 D channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.to_quarter = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, 2),
            LayerNorm2d(half, eps=EPS),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        )
        self.to_eighth = nn.ConvTranspose2d(width, half, 2, 2)
        pairs = ((quarter, quarter), (half, half), (width, width), (width, 2 * width))
        self.lateral = nn.ModuleList(_conv_norm(inputs, outputs, 1) for inputs, outputs in pairs)
        self.smooth = nn.ModuleList(_conv_norm(outputs, outputs, 3) for _, outputs in pairs)

    def forward(self, maps: Tensor) -> list[Tensor]:
        """(B, D, g, g) to maps of 4 g, 2 g, g and g / 2 cells a side, finest first."""
        scales = (self.to_quarter(maps), self.to_eighth(maps), maps, F.max_pool2d(maps, 2))
        return [smooth(lateral(x)) for x, lateral, smooth in zip(scales, self.lateral, self.smooth, strict=True)]


class Decoder(nn.Module):
    """LAVT's decoder without its classifier.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        below, finer = (2 * width, width, width), (width, width // 2, width // 4)
        self.steps = nn.ModuleList(DecoderStep(a + b, width) for a, b in zip(below, finer, strict=True))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps of `Pyramid` to the decoded one (B, D, 4 g, 4 g)."""
        *finer, decoded = maps
        for step, fine in zip(self.steps, reversed(finer), strict=True):
            decoded = step(decoded, fine)
        return decoded


def _conv_norm(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, LayerNorm2d(outputs, eps=EPS))
