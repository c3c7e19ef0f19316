"""What DETRIS and S4ECA share: frozen encoders with adapters inside, their base weights, input and loss.

A method fills in the adapters and how language reaches them; DETRIS's head is in `head.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from rrsis_bench.families.detris.options import DetrisFamilyOptions
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.adapted import AdaptedEncoder, AdaptedTextEncoder, SentencePlace
from rrsis_bench.nn.encoders.build import IMAGE_ENCODERS, TEXT_ENCODERS
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.nn.weights.base import load_frozen
from rrsis_bench.types import Batch, InputSpec, Interpolation, MethodOutput


class DetrisFamily(Method):
    """Frozen image and text encoders with adapters, and a head; a subclass builds them in `__init__`.

    Attributes:
        options: the method's options.
        vision: the adapted image encoder.
        text: the text side.
        head: makes the logits.
    """

    options: Any
    vision: AdaptedEncoder
    text: nn.Module
    head: nn.Module

    @property
    def text_encoder(self) -> AdaptedTextEncoder:
        """The adapted text encoder, which may be a part of `text`."""
        raise NotImplementedError

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy on the logits' grid, or cross-entropy and Dice on logits upsampled to the input."""
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

    def checkpoint_activations(self) -> None:
        """Run the frozen blocks of both encoders again in the backward pass; see `Method.checkpoint_activations`."""
        for encoder in (self.vision, self.text_encoder):
            encoder.checkpoint_activations()

    def encoders(self) -> dict[str, nn.Module]:
        """Both encoders with their adapters."""
        return {"visual": self.vision, "text": self.text}

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights that `visual_weights` and `text_weights` name.

        Returns:
            `visual` and `text` -> sha256 of the file.

        Raises:
            UsageError: an option is empty; `random` is the word for a random start.
            MissingResourceError: a file is missing, unreadable or of another network.
        """
        encoders = {"visual": self.vision.load_tensors, "text": self.text_encoder.load_tensors}
        return load_frozen(self.name, self.options, encoders)


def build_trunk(options: DetrisFamilyOptions) -> nn.Module:
    """The image encoder that the options name, without adapters and with random weights."""
    return IMAGE_ENCODERS[options.image_encoder].build(options, 0.0)


def adapted_text(
    options: DetrisFamilyOptions, make: Callable[[], Mapping[int, nn.Module]], sentence_at: SentencePlace = "end"
) -> AdaptedTextEncoder:
    """The text encoder that the options name, with adapters and with random weights.

    Args:
        options: the method's options.
        make: gives block index (0-based) -> adapter. Called after the encoder is built, which draws the first random
            numbers.
        sentence_at: see `AdaptedClipText`; BERT ignores it.
    """
    encoder = TEXT_ENCODERS[options.text_encoder]
    plain = encoder.build(options)
    return encoder.adapt(plain, make(), sentence_at)


def stage_bottleneck(width: int, options: DetrisFamilyOptions) -> int:
    """The bottleneck at a stage of `width` channels: a quarter in whole heads, at most `visual_bottleneck`."""
    heads = options.visual_adapter_heads
    return min(max(heads, width // 4 // heads * heads), options.visual_bottleneck)


def family_input(
    options: DetrisFamilyOptions, interpolation: Interpolation = "pil-bicubic", scaling: Mapping[str, Any] | None = None
) -> InputSpec:
    """The input that the encoders want.

    Args:
        options: the method's options.
        interpolation: image filter.
        scaling: mean and deviation, as `InputSpec` fields; None for ImageNet's. An image encoder whose row in
            `IMAGE_ENCODERS` names an input of its own keeps that.
    """
    own = IMAGE_ENCODERS[options.image_encoder].input
    return InputSpec(
        image_size=(options.image_size, options.image_size),
        tokenizer=options.tokenizer,
        max_tokens=options.max_tokens,
        interpolation=interpolation,
        **(own or scaling or {}),
    )
