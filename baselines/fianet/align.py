"""FIANet's stage: LAVT's fusion, the alignment of object and position words, and a weight for each channel.

Legend: `B` batch, `h w` map, `N` its pixels, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.fianet.text import OBJECT, POSITION
from rrsis_bench.families.lavt.stage import LAVTStage, TextFeatures, Texts
from rrsis_bench.nn.layers.fusion import LanguageGate, WordAttention
from rrsis_bench.nn.layers.init import init_transformer


class ObjectPositionAlignment(nn.Module):
    """Pixels attend to the object words; a map from the position words weighs the result.

    An expression without object words contributes nothing: keys and values are 0, every channel is constant over the
    pixels, and the norm behind the attention removes constants.

    Args:
        width: channels C.
        text_width: width Ct of the words.
        heads: attention heads.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1) -> None:
        super().__init__()
        self.objects = WordAttention(width, text_width, heads)
        self.gate = LanguageGate(width)
        # Released checkpoints hold this layer; the network does not use it.
        self.unused = nn.Linear(width, width, bias=False)
        self.positions = WordAttention(width, text_width, heads)
        self.where = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, features: Tensor, objects: TextFeatures, positions: TextFeatures) -> Tensor:
        """Align a map (B, h, w, C) with object and position words; returns (B, h, w, C)."""
        size = features.shape[1:3]
        pixels = features.flatten(1, 2)
        what = self.gate(self.objects(pixels, objects.states, objects.mask))
        read = self.positions(pixels, positions.states, positions.mask)
        summary = torch.stack([read.mean(2), read.amax(2)], 1).reshape(-1, 2, *size)
        where = self.where(summary).sigmoid().flatten(2).transpose(1, 2)
        aligned: Tensor = (what * where).unflatten(1, size)
        return aligned


class ChannelWeights(nn.Module):
    """Weighs each channel in (0, 1) by the channels' means over the map.

    Args:
        width: channels C.
        reduction: C over the width of the hidden layer.
    """

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // reduction)
        self.excite = nn.Linear(width // reduction, width)

    def forward(self, features: Tensor) -> Tensor:
        """Weights (B, 1, 1, C) of a map's channels (B, h, w, C)."""
        weights: Tensor = self.excite(self.squeeze(features.mean((1, 2), keepdim=True)).relu()).sigmoid()
        return weights


class FIANetStage(LAVTStage):
    """Fine-grained image-text alignment of one stage.

    As released, the decoder's map depends on the whole expression only. Alignment, gate and channel weights act through
    the next stages; behind the last stage they have no effect.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__(width, text_width, heads, dropout)
        self.align = ObjectPositionAlignment(width, text_width, heads)
        self.channels = ChannelWeights(width)
        for part in (self.align.gate, self.align.unused, self.channels):
            part.apply(init_transformer)

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """Fuse a stage's map with the three texts, see `LAVTStage.forward`."""
        fused = self.fuse(features, texts)
        aligned = self.align(features, texts[OBJECT], texts[POSITION])
        flowing = features + self.channels(features) * (self.gate(fused) + aligned)
        return flowing, self.to_map(fused), texts
