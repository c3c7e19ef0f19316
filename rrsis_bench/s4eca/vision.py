"""The visual branch: a frozen image encoder whose adapters read the language.

Legend: `B` batch, `C` channels, `h w` map.
"""

from __future__ import annotations

from torch import Tensor, nn

from rrsis_bench.families.detris.family import stage_bottleneck
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2
from rrsis_bench.nn.encoders.staged import AdaptedStages, StagedEncoder
from rrsis_bench.s4eca.language import Language
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.visual_adapter import VisualAdapter


def _adapter(options: S4ECAOptions, width: int, bottleneck: int, sentence: int, language: int) -> VisualAdapter:
    return VisualAdapter(
        width,
        bottleneck,
        options.reduction,
        sentence,
        language,
        options.visual_adapter_heads,
        options.scale_hidden,
        options.adapter_dropout,
        options.extractor_norm,
        options.scale_selection,
        options.spatial_selection,
        options.residual_scale,
        options.zero_init,
        options.selection_order == "space-first",
    )


class PlainVision(AdaptedDinov2):
    """DINOv2 with visual adapters in parallel with its MLPs.

    Args:
        trunk: from `build_dinov2`; its parameters are frozen here.
        options: the method's options.
        sentence: width of the sentence vector.
        language: width of the language keys.
    """

    def __init__(self, trunk: nn.Module, options: S4ECAOptions, sentence: int, language: int) -> None:
        adapters = {
            index: _adapter(options, options.vit_width, options.visual_bottleneck, sentence, language)
            for index in options.visual_layers
        }
        super().__init__(trunk, adapters, options.taps, options.position_codes)
        self.layers = options.visual_layers

    def encode_image(self, images: Tensor, language: Language) -> list[Tensor]:
        """Encode images (B, 3, H, W) under language as three maps (B, C, h, w), shallow to deep."""
        maps: list[Tensor] = self(images, {index: language.context(k) for k, index in enumerate(self.layers)})
        return maps


class StagedVision(AdaptedStages):
    """An encoder in stages with a visual adapter behind each stage.

    Args:
        trunk: the encoder; its parameters are frozen here.
        options: the method's options.
        sentence: width of the sentence vector.
        language: width of the language keys.
    """

    def __init__(self, trunk: StagedEncoder, options: S4ECAOptions, sentence: int, language: int) -> None:
        adapters = [
            _adapter(options, width, stage_bottleneck(width, options), sentence, language) for width in trunk.channels
        ]
        super().__init__(trunk, adapters)

    def encode_image(self, images: Tensor, language: Language) -> list[Tensor]:
        """Encode images (B, 3, H, W) under language as one map (B, C_i, h_i, w_i) per stage, finest first."""
        maps: list[Tensor] = self(images, {k: language.context(k) for k in range(len(self.adapters))})
        return maps
