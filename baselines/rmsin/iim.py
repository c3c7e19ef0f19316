"""Intra-scale interaction (RMSIN, section 3.2): a weight for every pixel of a stage's map, beside LAVT's fusion.

Legend: `B` batch, `h w` map, `C` its channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.lavt.stage import LAVTStage, Texts
from rrsis_bench.nn.layers.fusion import LanguageGate
from rrsis_bench.nn.layers.init import init_transformer


class OneChannelHalf(nn.Module):
    """The sum of three paths over one channel: bn(conv1(z)) + bn(conv3(bn(conv1(z)))) + bn(z); 19 parameters.

    The 3x3 path zero-pads the output of its first batch norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(1, 1, 1, bias=False)
        self.point_bn = nn.BatchNorm2d(1)
        self.inner = nn.Conv2d(1, 1, 1, bias=False)
        self.inner_bn = nn.BatchNorm2d(1)
        self.wide = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        self.wide_bn = nn.BatchNorm2d(1)
        self.same_bn = nn.BatchNorm2d(1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, 1, h, w) to the same shape."""
        wide = self.wide_bn(self.wide(self.inner_bn(self.inner(features))))
        summed: Tensor = self.point_bn(self.point(features)) + wide + self.same_bn(features)
        return summed


class IntraScale(nn.Module):
    """Weighs each pixel by the mean over its channels: s = sigmoid(b(relu(a(mean x)))); 38 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = OneChannelHalf()
        self.second = OneChannelHalf()

    def forward(self, features: Tensor) -> Tensor:
        """Weights (B, h, w, 1) of a map's pixels (B, h, w, C)."""
        mean = features.mean(-1)[:, None]
        return F.sigmoid(self.second(F.relu(self.first(mean)))).permute(0, 2, 3, 1)


class RMSINStage(LAVTStage):
    """LAVT's stage with a second gate, for the weighted visual features.

    x' = x + gate(r) + visual_gate(x * s), with r = PWAM(x, words) and s one weight per pixel.

    Args:
        width: channels C of the stage.
        text_width: width of the words.
        heads: heads of the word attention.
        dropout: rate inside the fusion.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__(width, text_width, heads, dropout)
        self.intra = IntraScale()
        self.visual_gate = LanguageGate(width)
        self.visual_gate.apply(init_transformer)

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """Fuse a map of any size; see `LAVTStage.forward`. The released code takes square maps only."""
        fused = self.fuse(features, texts)
        weighted = features * self.intra(features)
        return features + self.gate(fused) + self.visual_gate(weighted), self.to_map(fused), texts
