"""Every choice of RS2-SAM2, and which of them the released code makes otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.beit3 import MOST_WORDS, Beit3Size
from rrsis_bench.nn.encoders.sam2 import Sam2Size

OFFICIAL: Mapping[str, Any] = {
    "text_padding": "longest",
    "boundary_weight": 0.2,
    "zero_start": False,
    "train_trunk": False,
    "idle_parts": True,
    "train_idle": True,
}
"""What `official: true` sets."""


@dataclass(frozen=True)
class RS2SAM2Options:
    """The defaults are the published sizes, with our answers to what the released code does doubtfully.

    Attributes:
        official: make every choice of `OFFICIAL` as the released code does, whatever the options say.
        image_size: side in pixels of the segmenter's image.
        hiera_width: channels of Hiera's first stage; they double with each stage.
        hiera_heads: attention heads of the first stage; they double too.
        hiera_stages: blocks of each of the four stages.
        hiera_global: blocks with global attention, counted from 0.
        hiera_windows: window of each stage.
        prompt_width: width P of prompts, words in the adapters, and the mask decoder.
        decoder_hidden: width inside the MLPs of the mask decoder.
        decoder_heads: attention heads of the mask decoder.
        iou_hidden: width inside its head of predicted IoUs.
        segmenter_weights: SAM 2's weights; empty for a random start, which a frozen trunk refuses.
        beit_width: width D of BEiT-3.
        beit_layers: its layers.
        beit_heads: its attention heads.
        beit_image_size: side in pixels of its image, which is resized from the segmenter's.
        beit_vocabulary: rows of its table of tokens.
        beit_weights: BEiT-3's weights; empty for a random start.
        tokenizer: name of the tokenizer.
        tokenizer_path: its vocabulary, BEiT-3's SentencePiece file.
        max_tokens: length the token ids are cut or padded to.
        text_padding: `masked` (adapters and decoder read real words alone) or `longest` (cut to the longest of the
            batch; adapters and decoder read padding too, as released).
        adapter_heads: attention heads of the adapters.
        zero_start: start the second layer of both adapters at zero, so that SAM 2's features start undisturbed.
        train_trunk: train Hiera and its neck too, at the rate of new parts; for a random start.
        idle_parts: build the released network's parts that never run: the memory for videos and one linear layer.
        train_idle: leave parameters trainable that no step reaches.
        new_rate: learning rate of the new parts over that of BEiT-3 and of SAM 2's heads.
        ce_weight: of the cross-entropy.
        dice_weight: of the Dice loss.
        boundary_weight: of the boundary loss; 0 leaves it out. It cannot move the mask.
    """

    official: bool = False
    image_size: int = 1024
    hiera_width: int = 144
    hiera_heads: int = 2
    hiera_stages: tuple[int, int, int, int] = (2, 6, 36, 4)
    hiera_global: tuple[int, ...] = (23, 33, 43)
    hiera_windows: tuple[int, int, int, int] = (8, 4, 16, 8)
    prompt_width: int = 256
    decoder_hidden: int = 2048
    decoder_heads: int = 8
    iou_hidden: int = 256
    segmenter_weights: str = ""
    beit_width: int = 1024
    beit_layers: int = 24
    beit_heads: int = 16
    beit_image_size: int = 224
    beit_vocabulary: int = 64_010
    beit_weights: str = ""
    tokenizer: str = "beit3"
    tokenizer_path: str | None = None
    max_tokens: int = 40
    text_padding: Literal["masked", "longest"] = "masked"
    adapter_heads: int = 4
    zero_start: bool = False
    train_trunk: bool = False
    idle_parts: bool = False
    train_idle: bool = False
    new_rate: float = 2.0
    ce_weight: float = 0.9
    dice_weight: float = 0.1
    boundary_weight: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if not 3 <= self.max_tokens <= MOST_WORDS:
            raise UsageError(f"rs2sam2: max_tokens must be between 3 and {MOST_WORDS}, not {self.max_tokens}.")
        if self.image_size % 32:
            raise UsageError(f"rs2sam2: image_size {self.image_size} must be a multiple of 32, the last map's stride.")
        for name, width, heads in (
            ("beit_width", self.beit_width, self.beit_heads),
            ("prompt_width", self.prompt_width, self.decoder_heads),
            ("hiera_width", self.hiera_width, 4 * self.adapter_heads),
        ):
            if width % heads:
                raise UsageError(f"rs2sam2: {name} must be a multiple of {heads}, not {width}.")

    def settled(self) -> Self:
        """The options with `OFFICIAL` in place where `official` is set."""
        return replace(self, **OFFICIAL) if self.official else self

    @property
    def beit(self) -> Beit3Size:
        """Sizes of BEiT-3."""
        return Beit3Size(self.beit_width, self.beit_layers, self.beit_heads, self.beit_vocabulary)

    @property
    def sam(self) -> Sam2Size:
        """Sizes of SAM 2."""
        return Sam2Size(
            self.hiera_width,
            self.hiera_heads,
            self.hiera_stages,
            self.hiera_global,
            self.hiera_windows,
            image=self.image_size,
            prompt=self.prompt_width,
            decoder_hidden=self.decoder_hidden,
            decoder_heads=self.decoder_heads,
            iou_hidden=self.iou_hidden,
        )
