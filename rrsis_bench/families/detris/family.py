"""What DETRIS and S4ECA share: frozen encoders with adapters inside, their base weights, input and loss.

A method fills in the adapters and how language reaches them; DETRIS's head is in `head.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rrsis_bench.families.detris.options import DetrisFamilyOptions
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.bert import AdaptedBert, build_bert, load_bert
from rrsis_bench.nn.encoders.clip import AdaptedClipText, SentencePlace, build_clip_text, text_part
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2, build_dinov2, load_dinov2
from rrsis_bench.nn.encoders.staged import AdaptedStages, StagedEncoder
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.nn.weights import files as weights
from rrsis_bench.types import Batch, InputSpec, Interpolation, MethodOutput

if TYPE_CHECKING:
    from open_clip.transformer import TextTransformer
    from timm.models.vision_transformer import VisionTransformer


class DetrisFamily(Method):
    """Frozen dual encoders with adapters, and a head; a subclass builds them in `__init__`.

    Attributes:
        options: the method's options.
        vision: the adapted image encoder.
        text: the text side.
        head: what makes the logits.
    """

    options: Any
    vision: AdaptedDinov2 | AdaptedStages
    text: nn.Module
    head: nn.Module

    @property
    def text_encoder(self) -> AdaptedClipText | AdaptedBert:
        """The adapted text encoder."""
        raise NotImplementedError

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy on the logits' grid, or 0.9 of it and 0.1 Dice on logits upsampled to the input."""
        if self.options.loss == "bce":
            size = (output.logits.shape[-2], output.logits.shape[-1])
            return {"bce": binary_cross_entropy(output.logits, reduce_mask(batch.masks, size))}
        size = (batch.masks.shape[-2], batch.masks.shape[-1])
        logits, target = upsample(output.logits, size), reduce_mask(batch.masks, size)
        share = self.options.dice_weight
        return {
            "bce": (1 - share) * binary_cross_entropy(logits, target),
            "dice": share * dice_loss(logits, target),
        }

    def encoders(self) -> dict[str, nn.Module]:
        """Both encoders with their adapters."""
        return {"visual": self.vision, "text": self.text}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights that `visual_weights` and `text_weights` name.

        Returns:
            `visual` and `text` -> sha256 of the file.

        Raises:
            UsageError: an option is empty; a random start has to be asked for (`random`).
            MissingResourceError: a file is not there, or is not the one meant.
        """
        digests = {}
        for encoder in ("visual", "text"):
            named: str = getattr(self.options, f"{encoder}_weights")
            if not named:
                raise self.options.error(
                    f"{encoder}_weights names no file for the frozen {encoder} encoder; "
                    f"set it in model.options (see configs/methods/{self.name}.yaml)."
                )
            if named == "random":
                continue
            path = weights.resolve(named)
            tensors = {key: value.float() for key, value in weights.load_tensors(path).items()}
            words = self.text_encoder
            if encoder == "visual" and isinstance(self.vision, AdaptedStages):
                self.vision.trunk.load_tensors(tensors)
            elif encoder == "visual":
                load_dinov2(self.vision.trunk, tensors)
            elif isinstance(words, AdaptedClipText):
                weights.fit(words.trunk, text_part(tensors), f"text weights of {path}")
            else:
                load_bert(words.trunk, tensors, f"text weights of {path}")
            digests[encoder] = weights.sha256_file(path)
        return digests


def plain_vit(options: DetrisFamilyOptions) -> VisionTransformer:
    """The image encoder without adapters, random weights; what the tiny variants' pre-training trains."""
    return build_dinov2(
        options.vit_width,
        options.vit_depth,
        options.vit_heads,
        options.vit_patch,
        options.vit_grid,
        options.vit_registers,
    )


def plain_words(options: DetrisFamilyOptions) -> TextTransformer:
    """CLIP's text encoder without adapters, random weights; what the tiny variants' pre-training trains."""
    return build_clip_text(
        options.text_width,
        options.text_depth,
        options.text_heads,
        options.text_vocabulary,
        options.text_context,
        options.sentence_width,
    )


def adapted_text(
    options: DetrisFamilyOptions, make: Callable[[], Mapping[int, nn.Module]], sentence_at: SentencePlace = "end"
) -> AdaptedClipText | AdaptedBert:
    """The text encoder that the options name, with random weights.

    Args:
        options: the method's options.
        make: gives block index (0-based) -> adapter; called behind the trunk, whose random numbers come first.
        sentence_at: see `AdaptedClipText`.
    """
    if options.encoders == "dinov2+clip":
        words = plain_words(options)
        return AdaptedClipText(words, make(), sentence_at)
    bert = build_bert(
        options.text_width, options.text_depth, options.text_heads, options.text_vocabulary, options.text_context
    )
    return AdaptedBert(bert, make())


def sentence_width(options: DetrisFamilyOptions) -> int:
    """Width of the sentence vector."""
    return options.sentence_width if options.encoders == "dinov2+clip" else options.text_width


def staged_trunk(options: DetrisFamilyOptions) -> StagedEncoder:
    """The staged image encoder that the options name, with random weights."""
    if options.encoders == "swin+bert":
        from rrsis_bench.nn.encoders.swin import Swin

        return Swin(options.swin_width, options.swin_depths, options.swin_heads, options.swin_window, drop_path=0.0)
    # Imported on use: it comes with the `lite` extra.
    from rrsis_bench.nn.encoders.efficientnet import EfficientNetLite

    return EfficientNetLite()


def stage_bottleneck(width: int, options: DetrisFamilyOptions) -> int:
    """The bottleneck at a stage of `width` channels: a quarter in whole heads, at most `visual_bottleneck`."""
    heads = options.visual_adapter_heads
    return min(max(heads, width // 4 // heads * heads), options.visual_bottleneck)


def family_input(
    options: DetrisFamilyOptions, interpolation: Interpolation = "pil-bicubic", scaling: Mapping[str, Any] | None = None
) -> InputSpec:
    """What the encoders want to be fed.

    Args:
        options: the method's options.
        interpolation: image filter.
        scaling: mean and deviation; None for ImageNet's. EfficientNet-Lite always has its own.
    """
    scaling = scaling or {}
    if options.encoders == "efficientnet+bert":
        from rrsis_bench.nn.encoders.efficientnet import EFFICIENTNET_INPUT

        scaling = EFFICIENTNET_INPUT
    return InputSpec(
        image_size=(options.image_size, options.image_size),
        tokenizer=options.tokenizer,
        max_tokens=options.max_tokens,
        interpolation=interpolation,
        **scaling,
    )
