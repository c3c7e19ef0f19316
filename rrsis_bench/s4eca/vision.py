"""The visual side: a frozen, adapted image encoder under language.

Legend: `B` batch, `C` channels, `h w` map.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rrsis_bench.methods.base import freeze
from rrsis_bench.nn.dinov2 import AdaptedDinov2, build_dinov2
from rrsis_bench.nn.staged import StagedEncoder
from rrsis_bench.s4eca.language import Language
from rrsis_bench.s4eca.options import S4ECAOptions
from rrsis_bench.s4eca.visual_adapter import VisualAdapter

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


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
    )


def plain_trunk(options: S4ECAOptions) -> VisionTransformer:
    """The image encoder without adapters, random weights; what the tiny variant's pre-training trains."""
    return build_dinov2(
        options.vit_width,
        options.vit_depth,
        options.vit_heads,
        options.vit_patch,
        options.vit_grid,
        options.vit_registers,
    )


class PlainVision(AdaptedDinov2):
    """DINOv2 with visual adapters in parallel with its MLPs.

    Args:
        options: the method's options.
        sentence: width of the sentence vector.
        language: width of the language keys.
    """

    def __init__(self, options: S4ECAOptions, sentence: int, language: int) -> None:
        trunk = plain_trunk(options)
        adapters = {
            index: _adapter(options, options.vit_width, options.visual_bottleneck, sentence, language)
            for index in options.visual_layers
        }
        super().__init__(trunk, adapters, options.taps)
        self.layers = options.visual_layers

    def look(self, images: Tensor, language: Language) -> list[Tensor]:
        """Images (B, 3, H, W) under language -> three maps (B, C, h, w), shallow to deep."""
        maps: list[Tensor] = self(images, {index: language.context(k) for k, index in enumerate(self.layers)})
        return maps


class StagedVision(nn.Module):
    """A frozen encoder in stages; an adapter changes each stage's output before the next stage sees it.

    The trunk stays in evaluation mode, and what lies before the first adapter runs without gradients. A trained
    LayerNorm stands before each adapter (in a transformer block the block's own frozen one does).

    Args:
        trunk: the encoder; its parameters are frozen here.
        options: the method's options.
        sentence: width of the sentence vector.
        language: width of the language keys.
    """

    def __init__(self, trunk: StagedEncoder, options: S4ECAOptions, sentence: int, language: int) -> None:
        super().__init__()
        self.trunk = trunk
        freeze(trunk)
        trunk.eval()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in trunk.channels)
        self.adapters = nn.ModuleList(
            _adapter(options, width, bottleneck(width, options), sentence, language) for width in trunk.channels
        )

    def train(self, mode: bool = True) -> StagedVision:
        """Set the mode of the adapters; the trunk never leaves evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def look(self, images: Tensor, language: Language) -> list[Tensor]:
        """Images (B, 3, H, W) under language -> one map (B, C_i, h_i, w_i) per stage, finest first."""
        maps: list[Tensor] = []
        features = images
        for k, (norm, adapter) in enumerate(zip(self.norms, self.adapters, strict=True)):
            with nullcontext() if k else torch.no_grad():
                features = self.trunk.downsample(k - 1, features) if k else self.trunk.stem(images)
                features = self.trunk.stage(k, features)
            grid = (features.shape[1], features.shape[2])
            tokens = norm(features.flatten(1, 2))
            features = features + adapter(tokens, grid, 0, *language.context(k)).unflatten(1, grid)
            maps.append(features.permute(0, 3, 1, 2))
        return maps


def bottleneck(width: int, options: S4ECAOptions) -> int:
    """A stage's bottleneck: a quarter of its width in whole heads, at most `visual_bottleneck`."""
    heads = options.visual_adapter_heads
    return min(max(heads, width // 4 // heads * heads), options.visual_bottleneck)


def build_staged(options: S4ECAOptions) -> StagedEncoder:
    """The staged trunk that the options name, with random weights."""
    if options.encoders == "swin+bert":
        from rrsis_bench.nn.swin import Swin

        return Swin(options.swin_width, options.swin_depths, options.swin_heads, options.swin_window, drop_path=0.0)
    # Imported on use: it comes with the `lite` extra.
    from rrsis_bench.nn.efficientnet import EfficientNetLite

    return EfficientNetLite()
