"""DETRIS (AAAI 2025, arXiv 2501.08580): densely connected adapters in a frozen DINOv2 and a frozen CLIP text encoder.

The text encoder runs first; every visual adapter reads its final words. `rrsis_bench/families/detris/` holds what S4ECA
shares with DETRIS.

Legend: `B` batch, `L` tokens, `h w` map.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.detris.options import DETRISOptions
from baselines.detris.visual_adapter import DenseVisualAdapter
from baselines.detris.weights import load_official
from rrsis_bench.families.detris.family import (
    DetrisFamily,
    adapted_text,
    build_trunk,
    family_input,
    stage_bottleneck,
)
from rrsis_bench.families.detris.head import DetrisHead
from rrsis_bench.families.detris.text_adapter import DenseTextAdapter, ScaledTextAdapter
from rrsis_bench.nn.encoders.adapted import AdaptedTextEncoder
from rrsis_bench.nn.encoders.clip import OPENAI_INPUT
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2
from rrsis_bench.nn.encoders.staged import AdaptedStages, StagedEncoder
from rrsis_bench.types import Batch, MethodOutput


class DETRIS(DetrisFamily):
    """Frozen image and text encoders with DETRIS's adapters, and its neck, decoder and projector.

    Args:
        options: all choices; the defaults are the released base size.
    """

    name: ClassVar[str] = "detris"
    Options: ClassVar[type[Any]] = DETRISOptions

    def __init__(self, options: DETRISOptions) -> None:
        super().__init__()
        self.options = options
        scaling = OPENAI_INPUT if options.normalisation == "clip" else None
        self.input_spec = family_input(options, options.interpolation, scaling)
        self.text: AdaptedTextEncoder = adapted_text(options, self._text_adapters, options.sentence_at)
        channels = self._build_vision()
        self.head: DetrisHead = DetrisHead(options, channels[-3:], self.text.sentence_width)

    def _text_adapters(self) -> Mapping[int, nn.Module]:
        options = self.options
        return {
            index: ScaledTextAdapter(
                DenseTextAdapter(options.text_width, options.text_bottleneck),
                options.residual_scale,
                options.text_padding == "masked",
            )
            for index in options.text_layers
        }

    def _build_vision(self) -> tuple[int, ...]:
        """Set `vision`; returns the widths of its maps."""
        options = self.options
        trunk = build_trunk(options)
        if isinstance(trunk, StagedEncoder):
            self.vision = AdaptedStages(
                trunk, [self._visual_adapter(width, stage_bottleneck(width, options)) for width in trunk.channels]
            )
            return trunk.channels
        adapters = {
            index: self._visual_adapter(options.vit_width, options.visual_bottleneck) for index in options.visual_layers
        }
        self.vision = AdaptedDinov2(trunk, adapters, options.taps, options.position_codes)
        return (options.vit_width,) * 3

    def _visual_adapter(self, width: int, bottleneck: int) -> DenseVisualAdapter:
        options = self.options
        return DenseVisualAdapter(
            width,
            bottleneck,
            options.text_width,
            options.cross_width,
            options.visual_adapter_heads,
            options.adapter_dropout,
            options.residual_scale,
        )

    @property
    def text_encoder(self) -> AdaptedTextEncoder:
        """The adapted text encoder."""
        return self.text

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits (B, 1, h, w): 4 / patch of the input's resolution, or that of the first stage."""
        ids, mask = batch.tokens.ids, batch.tokens.mask
        words, sentence, _ = self.text(ids, mask)
        maps: list[Tensor] = self.vision(batch.images, (words, mask if self.options.text_padding == "masked" else None))
        padding = ids == 0 if self.options.decoder_padding == "zero-id" else ~mask
        return MethodOutput(self.head(maps, words, padding, sentence))

    def load_official(self, path: Path) -> str:
        """Load a checkpoint of the released code (`weights.py`); see `Method.load_official`."""
        return load_official(self, path)
