"""The choices that DETRIS and what is built on it share: frozen encoders, places of the adapters, head, loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.nn.encoders.build import ENCODER_PAIRS, IMAGE_ENCODERS, EncoderPair
from rrsis_bench.nn.encoders.dinov2 import PositionCodes


@dataclass(frozen=True)
class DetrisFamilyOptions:
    """Choices and sizes; the defaults are DETRIS-B's, but for the position codes.

    Attributes:
        method: name of the method, for messages.
        encoders: image and text encoder. `dinov2+clip` is DETRIS's pair; the others have stages.
        image_size: side of the square input in pixels, a multiple of the patch.
        tokenizer: name of the tokenizer.
        max_tokens: token sequence length L.
        visual_weights: weights file of the visual encoder; `random` for a random start.
        text_weights: weights file of the text encoder; `random` for a random start.
        vit_width: channels of the vision transformer.
        vit_depth: its blocks.
        vit_heads: its attention heads.
        vit_patch: side of its patches in pixels.
        vit_grid: side of its grid of position codes in patches.
        vit_registers: its register tokens.
        position_codes: how its position codes reach another grid: `antialiased`, as the official register models do
            it, or `offset` (0.1, no antialiasing), as released with DETRIS.
        swin_width: channels of Swin's first stage.
        swin_depths: Swin's blocks per stage.
        swin_heads: Swin's heads per stage.
        swin_window: side of Swin's windows.
        text_width: channels of the text encoder.
        text_depth: its blocks.
        text_heads: its attention heads.
        text_vocabulary: its number of token ids.
        text_context: its number of positions.
        sentence_width: width of the sentence vector (CLIP's projection; BERT's is `text_width`).
        visual_layers: blocks (0-based) of the vision transformer with an adapter; of stages, each has one.
        text_layers: blocks (0-based) of the text encoder with an adapter.
        taps: two blocks (0-based) whose outputs the neck reads beside the final one.
        visual_bottleneck: channels of the visual adapters. With stages it is the largest number: an adapter has a
            quarter of its stage's channels, if that is fewer.
        text_bottleneck: channels of the textual adapters.
        visual_adapter_heads: attention heads in the visual adapters.
        adapter_dropout: dropout of the adapters' attention weights.
        residual_scale: fixed factor of the adapters' outputs.
        width: channels of neck and decoder.
        heads: attention heads of neck and decoder.
        ffn: hidden width of the decoder's feed-forward parts.
        decoder_layers: layers of the decoder.
        dropout: dropout of the decoder.
        neck_gate: `attention` keeps the published parameters, `linear` only those with an effect.
        loss: `bce` on the logits' own grid, truth by exact nearest; `bce-dice` on logits upsampled to the input.
        dice_weight: share of the Dice term in `bce-dice`.
    """

    method: ClassVar[str]

    encoders: EncoderPair = "dinov2+clip"
    image_size: int = 448
    tokenizer: str = "clip"
    max_tokens: int = 22
    visual_weights: str = ""
    text_weights: str = ""
    vit_width: int = 768
    vit_depth: int = 12
    vit_heads: int = 12
    vit_patch: int = 14
    vit_grid: int = 37
    vit_registers: int = 4
    position_codes: PositionCodes = "antialiased"
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 12
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    text_vocabulary: int = 49_408
    text_context: int = 77
    sentence_width: int = 512
    visual_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    text_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    taps: tuple[int, int] = (4, 8)
    visual_bottleneck: int = 128
    text_bottleneck: int = 64
    visual_adapter_heads: int = 8
    adapter_dropout: float = 0.1
    residual_scale: float = 0.2
    width: int = 512
    heads: int = 8
    ffn: int = 512
    decoder_layers: int = 3
    dropout: float = 0.1
    neck_gate: Literal["attention", "linear"] = "attention"
    loss: Literal["bce", "bce-dice"] = "bce"
    dice_weight: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if self.encoders not in ENCODER_PAIRS:
            hint = did_you_mean(self.encoders, list(ENCODER_PAIRS))
            raise self.error(f"option 'encoders' is not '{self.encoders}'.{hint}")
        if not self.staged:
            if self.image_size % self.vit_patch:
                raise self.error(f"image_size {self.image_size} is no multiple of vit_patch {self.vit_patch}.")
            layers = max((*self.visual_layers, *self.taps), default=0)
            if layers >= self.vit_depth:
                raise self.error(f"visual block {layers} is named, but vit_depth is {self.vit_depth}.")
        if max(self.text_layers, default=0) >= self.text_depth:
            raise self.error(f"text block {max(self.text_layers)} is named, but text_depth is {self.text_depth}.")

    @property
    def image_encoder(self) -> str:
        """Name of the image encoder, of `IMAGE_ENCODERS`."""
        return ENCODER_PAIRS[self.encoders][0]

    @property
    def text_encoder(self) -> str:
        """Name of the text encoder, of `TEXT_ENCODERS`."""
        return ENCODER_PAIRS[self.encoders][1]

    @property
    def staged(self) -> bool:
        """Whether the image encoder has stages, and so maps of several sizes."""
        return IMAGE_ENCODERS[self.image_encoder].staged

    def error(self, message: str) -> UsageError:
        """A user's mistake in these options, with the method's name before it."""
        return UsageError(f"{self.method}: {message}")
