"""Encoders by name: which there are, how each is built, and how its weights want images.

To add an encoder, write its file beside this one and its row in a table below. A row imports the encoder's file only
when it builds one, so that a method loads no library it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.nn.encoders.adapted import AdaptedTextEncoder, SentencePlace
from rrsis_bench.nn.encoders.dual_encoder import DualEncoder
from rrsis_bench.nn.encoders.sam import Library, PromptableSegmenter

# --- image encoders ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageEncoder:
    """A row of the image encoders.

    Attributes:
        build: makes the encoder with random weights. It gets the method's options, of which each encoder reads its own
            sizes, and the stochastic depth of the last block.
        input: how its published weights want images, as `InputSpec` fields; empty for ImageNet's mean and deviation.
        staged: the encoder is a `StagedEncoder`; else it is a vision transformer, whose maps have one size.
    """

    build: Callable[[Any, float], nn.Module]
    input: Mapping[str, Any] = field(default_factory=dict)
    staged: bool = True


def _swin(options: Any, drop_path: float) -> nn.Module:
    from rrsis_bench.nn.encoders.swin import Swin

    return Swin(options.swin_width, options.swin_depths, options.swin_heads, options.swin_window, drop_path=drop_path)


def _convnext_base(options: Any, drop_path: float) -> nn.Module:
    from rrsis_bench.nn.encoders.convnext import ConvNeXt

    return ConvNeXt(drop_path=drop_path)


def _efficientnet_lite0(options: Any, drop_path: float) -> nn.Module:
    from rrsis_bench.nn.encoders.efficientnet import EfficientNetLite

    return EfficientNetLite(drop_path=drop_path)


def _dinov2(options: Any, drop_path: float) -> nn.Module:
    from rrsis_bench.nn.encoders.dinov2 import build_dinov2

    built: nn.Module = build_dinov2(
        options.vit_width,
        options.vit_depth,
        options.vit_heads,
        options.vit_patch,
        options.vit_grid,
        options.vit_registers,
        drop_path,
    )
    return built


StagedName = Literal["swin", "convnext_base", "efficientnet_lite0"]
IMAGE_ENCODERS: Mapping[str, ImageEncoder] = {
    "swin": ImageEncoder(_swin),
    "convnext_base": ImageEncoder(_convnext_base),
    # (x - 127) / 128 of 8-bit values.
    "efficientnet_lite0": ImageEncoder(_efficientnet_lite0, {"mean": (127.0,) * 3, "std": (128.0,) * 3, "scale": 1.0}),
    "dinov2": ImageEncoder(_dinov2, staged=False),
}


# --- text encoders with adapters --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextEncoder:
    """A row of the text encoders that take adapters.

    Attributes:
        build: makes the plain encoder with random weights, from a method's options.
        adapt: freezes the encoder and adds adapters (block index -> module). The last argument is for CLIP only.
    """

    build: Callable[[Any], nn.Module]
    adapt: Callable[[nn.Module, Mapping[int, nn.Module], SentencePlace], AdaptedTextEncoder]


def _clip_text(options: Any) -> nn.Module:
    from rrsis_bench.nn.encoders.clip import build_clip_text

    built: nn.Module = build_clip_text(
        options.text_width,
        options.text_depth,
        options.text_heads,
        options.text_vocabulary,
        options.text_context,
        options.sentence_width,
    )
    return built


def _adapted_clip(
    trunk: nn.Module, adapters: Mapping[int, nn.Module], sentence_at: SentencePlace
) -> AdaptedTextEncoder:
    from rrsis_bench.nn.encoders.clip import AdaptedClipText

    return AdaptedClipText(trunk, adapters, sentence_at)


def _bert(options: Any) -> nn.Module:
    from rrsis_bench.nn.encoders.bert import build_bert

    built: nn.Module = build_bert(
        options.text_width, options.text_depth, options.text_heads, options.text_vocabulary, options.text_context
    )
    return built


def _adapted_bert(trunk: nn.Module, adapters: Mapping[int, nn.Module], _: SentencePlace) -> AdaptedTextEncoder:
    from rrsis_bench.nn.encoders.bert import AdaptedBert

    return AdaptedBert(trunk, adapters)


TEXT_ENCODERS: Mapping[str, TextEncoder] = {
    "clip": TextEncoder(_clip_text, _adapted_clip),
    "bert": TextEncoder(_bert, _adapted_bert),
}

EncoderPair = Literal["dinov2+clip", "swin+bert", "efficientnet+bert"]
ENCODER_PAIRS: Mapping[str, tuple[str, str]] = {
    "dinov2+clip": ("dinov2", "clip"),
    "swin+bert": ("swin", "bert"),
    "efficientnet+bert": ("efficientnet_lite0", "bert"),
}
"""Image and text encoder of the pairs that DETRIS's family names as one option."""

# --- dual encoders and promptable segmenters: a name is KIND-SIZE -----------------------------------------------------


def _siglip() -> type[DualEncoder]:
    from rrsis_bench.nn.encoders.siglip import Siglip

    return Siglip


def _clip() -> type[DualEncoder]:
    from rrsis_bench.nn.encoders.clip_dual import ClipDual

    return ClipDual


DUAL_ENCODERS: Mapping[str, Callable[[], type[DualEncoder]]] = {"siglip2": _siglip, "clip": _clip}


def build_dual_encoder(name: str, image_size: int | None = None) -> DualEncoder:
    """A dual encoder by name, with random weights.

    Args:
        name: such as `siglip2-so400m-p16-512` or `clip-b16`.
        image_size: side in pixels of its images; None for that of its weights, whose position table is resized
            otherwise.

    Raises:
        UsageError: an unknown name, or a size that the encoder cannot take.
    """
    load = DUAL_ENCODERS.get(_kind(name))
    if load is None or name not in load().sizes:
        raise UsageError(f"unknown dual encoder '{name}'.{did_you_mean(name, _sizes(DUAL_ENCODERS.values()))}")
    built = load()(name, image_size)
    if built.image_size % built.patch:
        raise UsageError(f"{name}: image size {built.image_size} is no multiple of its patch {built.patch}.")
    return built


def _sam2() -> type[PromptableSegmenter]:
    from rrsis_bench.nn.encoders.sam2 import Sam2

    return Sam2


def _sam_transformers() -> type[PromptableSegmenter]:
    from rrsis_bench.nn.encoders.sam_v1 import SamHF

    return SamHF


def _sam_original() -> type[PromptableSegmenter]:
    from rrsis_bench.nn.encoders.sam_v1 import SegmentAnything

    return SegmentAnything


SEGMENTERS: Mapping[str, Mapping[Library, Callable[[], type[PromptableSegmenter]]]] = {
    "sam2.1": {"transformers": _sam2},
    "sam": {"transformers": _sam_transformers, "segment-anything": _sam_original},
}
"""Kind -> library that has it -> class."""


def build_segmenter(name: str, library: Library = "transformers") -> PromptableSegmenter:
    """A promptable segmenter by name, with random weights.

    Args:
        name: such as `sam2.1-l` or `sam-b`.
        library: whose code runs it.

    Raises:
        UsageError: an unknown name, or one that the library does not have.
    """
    kind = SEGMENTERS.get(_kind(name), {})
    if name not in _sizes(kind.values()):
        known = _sizes(load for kind in SEGMENTERS.values() for load in kind.values())
        raise UsageError(f"unknown segmenter '{name}'.{did_you_mean(name, known)}")
    if library not in kind:
        raise UsageError(f"{library} has no '{name}'; set segmenter_library to {' or '.join(kind)}.")
    return kind[library]()(name)


def _kind(name: str) -> str:
    return name.partition("-")[0]


def _sizes(kinds: Iterable[Callable[[], type[DualEncoder | PromptableSegmenter]]]) -> list[str]:
    return list({size: None for load in kinds for size in load().sizes})
