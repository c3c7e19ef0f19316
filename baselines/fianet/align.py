"""FIANet's stage: what LAVT adds, the alignment of object and position words, and a weight for each channel.

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
    """Pixels read the object words; a map of where, from the position words, weighs what they read.

    An expression without object words contributes nothing: keys and values are 0, so every channel is constant over
    the pixels and the norm behind the attention takes it away.

    Args:
        width: channels C.
        text_width: width Ct of the words.
        heads: attention heads.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1) -> None:
        super().__init__()
        self.objects = WordAttention(width, text_width, heads)
        self.gate = LanguageGate(width)
        # Stands in released checkpoints and is used nowhere.
        self.unused = nn.Linear(width, width, bias=False)
        self.positions = WordAttention(width, text_width, heads)
        self.where = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, features: Tensor, objects: TextFeatures, positions: TextFeatures) -> Tensor:
        """Aligned features (B, h, w, C) of a map (B, h, w, C)."""
        size = features.shape[1:3]
        pixels = features.flatten(1, 2)
        what = self.gate(self.objects(pixels, objects.states, objects.mask))
        read = self.positions(pixels, positions.states, positions.mask)
        summary = torch.stack([read.mean(2), read.amax(2)], 1).reshape(-1, 2, *size)
        where = self.where(summary).sigmoid().flatten(2).transpose(1, 2)
        aligned: Tensor = (what * where).unflatten(1, size)
        return aligned


class ChannelWeights(nn.Module):
    """A weight in (0, 1) for each channel from its mean over the map.

    Args:
        width: channels C.
        reduction: of the hidden layer.
    """

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // reduction)
        self.excite = nn.Linear(width // reduction, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, h, w, C) to (B, 1, 1, C)."""
        weights: Tensor = self.excite(self.squeeze(features.mean((1, 2), keepdim=True)).relu()).sigmoid()
        return weights


class FIANetStage(LAVTStage):
    """Fine-grained image-text alignment of one stage.

    The decoder's map is built from the whole expression alone, as released: alignment, gate and channel weights act
    only through the next stages, so behind the last stage they have no effect.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__(width, text_width, heads, dropout)
        self.align = ObjectPositionAlignment(width, text_width, heads)
        self.channels = ChannelWeights(width)
        for part in (self.align.gate, self.align.unused, self.channels):
            part.apply(init_transformer)

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """See `LAVTStage.forward`."""
        fused = self.fuse(features, texts)
        aligned = self.align(features, texts[OBJECT], texts[POSITION])
        flowing = features + self.channels(features) * (self.gate(fused) + aligned)
        return flowing, self.to_map(fused), texts
