"""The target-background twin-stream decoder (T-BTD): one stream for the referent, one for the background.

The name and the joint prediction of both are the paper's; everything inside is ours.

Legend: `B` batch, `h w` map, `D` width of the streams, `Ct` width of the sentence vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.detris.neck import conv_norm_relu
from rrsis_bench.families.lavt.decoder import DecoderStep
from rrsis_bench.families.lavt.stage import Texts


@dataclass(frozen=True)
class DecoderOutput:
    """The decoder's output.

    Attributes:
        classes: (B, 2, h_1, w_1) logits of background and target.
        streams: the last maps (B, D, h_1, w_1) of background and target stream, or of the only stream.
    """

    classes: Tensor
    streams: tuple[Tensor, ...]


class Laterals(nn.Module):
    """Projects every stage's map to the streams' width.

    Args:
        widths: channels of the maps, finest first.
        width: D.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_norm_relu(channels, width) for channels in widths)

    def forward(self, maps: Sequence[Tensor], texts: Texts) -> list[Tensor]:
        """Project maps (B, C_i, h_i, w_i) to (B, D, h_i, w_i); the texts are ignored."""
        return [level(one) for level, one in zip(self.levels, maps, strict=True)]


class Modulation(nn.Module):
    """Modulates features by the sentence: x (1 + a) + b; a and b start at 0.

    Args:
        width: channels D.
        text_width: width Ct.
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(text_width, 2 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Modulate features (B, D, h, w) by the sentence (B, Ct)."""
        scale, shift = self.linear(sentence)[..., None, None].chunk(2, 1)
        modulated: Tensor = features * (1 + scale) + shift
        return modulated


class Exchange(nn.Module):
    """Sharpens a stream by its difference from the other one: ReLU(own + e(own - other)); e starts at 0.

    Args:
        width: channels D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.point = nn.Conv2d(width, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn.weight)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Sharpen a stream's map (B, D, h, w) by the other's."""
        return F.relu(own + self.bn(self.point(self.depth(own - other))))


class Stream(nn.Module):
    """Decodes from coarse to fine, modulated by the sentence at every level.

    Args:
        levels: number of levels.
        width: channels D.
        text_width: width Ct of the sentence; None for a stream without modulation.
        classes: number of logits per pixel.
    """

    def __init__(self, levels: int, width: int, text_width: int | None, classes: int) -> None:
        super().__init__()
        self.start = conv_norm_relu(width, width, 3)
        self.steps = nn.ModuleList(DecoderStep(2 * width, width) for _ in range(levels - 1))
        self.modulate = nn.ModuleList(Modulation(width, text_width) for _ in range(levels)) if text_width else None
        self.head = nn.Conv2d(width, classes, 3, padding=1)

    def coarsest(self, lateral: Tensor, sentence: Tensor) -> Tensor:
        """The coarsest level's map (B, D, h, w), from its lateral."""
        return self._modulated(0, self.start(lateral), sentence)

    def finer(self, index: int, features: Tensor, lateral: Tensor, sentence: Tensor) -> Tensor:
        """The map of level `index`, counted from the coarsest, from the next coarser map and its lateral."""
        joined: Tensor = self.steps[index - 1](features, lateral, align_corners=False)
        return self._modulated(index, joined, sentence)

    def _modulated(self, index: int, features: Tensor, sentence: Tensor) -> Tensor:
        if self.modulate is None:
            return features
        modulated: Tensor = self.modulate[index](features, sentence)
        return modulated


class TwinStreamDecoder(nn.Module):
    """Background and target stream on the same laterals, with an exchange between them.

    Args:
        levels: number of levels.
        width: channels D.
        text_width: width Ct of the sentence.
        twin: two streams, in the order of the classes; else one stream gives both logits.
        exchange: exchange after `every` level, after the `last`, or `none`.
        background_text: the sentence modulates the background stream too.
    """

    def __init__(
        self,
        levels: int,
        width: int,
        text_width: int,
        twin: bool = True,
        exchange: str = "every",
        background_text: bool = True,
    ) -> None:
        super().__init__()
        target = Stream(levels, width, text_width, 1 if twin else 2)
        background = [Stream(levels, width, text_width if background_text else None, 1)] if twin else []
        self.streams = nn.ModuleList([*background, target])
        places = {"every": range(levels), "last": [levels - 1], "none": []}[exchange if twin else "none"]
        self.exchanges = nn.ModuleDict(
            {str(index): nn.ModuleList(Exchange(width) for _ in range(2)) for index in places}
        )

    def forward(self, maps: Sequence[Tensor], sentence: Tensor) -> DecoderOutput:
        """Decode laterals (B, D, h_i, w_i), finest first, under the sentence (B, Ct)."""
        *finer, coarsest = maps
        streams = cast("Sequence[Stream]", self.streams)  # a ModuleList does not say what its items are
        found = self._exchanged(0, [stream.coarsest(coarsest, sentence) for stream in streams])
        for index, lateral in enumerate(reversed(finer), 1):
            found = [
                stream.finer(index, features, lateral, sentence)
                for stream, features in zip(streams, found, strict=True)
            ]
            found = self._exchanged(index, found)
        logits = [stream.head(features) for stream, features in zip(streams, found, strict=True)]
        return DecoderOutput(torch.cat(logits, 1), tuple(found))

    def _exchanged(self, index: int, found: list[Tensor]) -> list[Tensor]:
        if str(index) not in self.exchanges:
            return found
        pair = cast("Sequence[Exchange]", self.exchanges[str(index)])
        # Both exchanges read the old pair.
        return [take(own, other) for take, own, other in zip(pair, found, reversed(found), strict=True)]
