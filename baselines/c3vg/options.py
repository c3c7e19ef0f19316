"""Every choice of C3VG, and which of them the released code makes otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from baselines.c3vg.interaction import BoxPooling
from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.beit3 import MOST_WORDS, PATCH, Beit3Size

OFFICIAL: Mapping[str, Any] = {
    "sentence": "released",
    "word_positions": "released",
    "box_pooling": "released",
    "soft_consistency": False,
    "idle_parts": True,
    "train_idle": True,
}
"""What `official: true` sets."""


@dataclass(frozen=True)
class C3VGOptions:
    """The defaults are the published sizes, with our answers to what the released code does doubtfully.

    Attributes:
        official: make every choice of `OFFICIAL` as the released code does, whatever the options say.
        image_size: side in pixels of the image.
        beit_width: width of BEiT-3.
        beit_layers: its layers.
        beit_heads: its attention heads.
        beit_vocabulary: rows of its table of tokens.
        beit_weights: BEiT-3's weights; empty for a random start.
        larger_start: give BEiT-3 the framework's own random start, for a training from nothing.
        drop_path: stochastic depth of BEiT-3's last layer; it rises from 0 at the first.
        tokenizer: name of the tokenizer.
        tokenizer_path: its vocabulary, BEiT-3's SentencePiece file.
        max_tokens: length the token ids are cut or padded to.
        width: width D behind BEiT-3.
        heads: attention heads there.
        hidden: width inside the feed-forward parts there.
        dropout: rate in the attention layers there.
        sentence: the sentence vector. `blank` reads an empty position behind the words. `released` takes the maximum of
            the two last positions, which is the same for a sentence of `max_tokens` - 2 tokens or fewer. `max` takes
            each channel's maximum over real words.
        word_positions: position code of the words for the first box: `sine`, or `released`, in which all positions
            differ in two channels alone.
        box_pooling: where the features of the first box come from: `scaled` from the cells that it touches, `released`
            from a corner of the map.
        soft_consistency: let the consistency loss move the mask; see `losses.consistency`.
        idle_parts: build the released network's parts that never run or whose output nothing reads.
        train_idle: leave parameters trainable that no step reaches.
        beit_rate: learning rate of BEiT-3 over that of the other parts.
        mask_weight: of the mask losses.
        box_weight: of the box losses.
        consistency_weight: of the consistency losses.
        first_weight: of all losses of the first stage, over those of the second.
    """

    official: bool = False
    image_size: int = 320
    beit_width: int = 768
    beit_layers: int = 12
    beit_heads: int = 12
    beit_vocabulary: int = 64_010
    beit_weights: str = ""
    larger_start: bool = False
    drop_path: float = 0.1
    tokenizer: str = "baselines.c3vg.text:C3VGTokenizer"
    tokenizer_path: str | None = None
    max_tokens: int = 20
    width: int = 256
    heads: int = 8
    hidden: int = 1024
    dropout: float = 0.1
    sentence: Literal["blank", "released", "max"] = "blank"
    word_positions: Literal["sine", "released"] = "sine"
    box_pooling: BoxPooling = "scaled"
    soft_consistency: bool = False
    idle_parts: bool = False
    train_idle: bool = False
    beit_rate: float = 0.1
    mask_weight: float = 1.0
    box_weight: float = 0.05
    consistency_weight: float = 0.1
    first_weight: float = 0.3

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        most = MOST_WORDS - 1  # one position is for the blank query
        if not 3 <= self.max_tokens <= most:
            raise UsageError(f"c3vg: max_tokens must be between 3 and {most}, not {self.max_tokens}.")
        if self.image_size % PATCH or self.image_size < 2 * PATCH:
            raise UsageError(f"c3vg: image_size must be a multiple of {PATCH} from 32 on, not {self.image_size}.")
        if self.width % self.heads or self.width % 4:
            raise UsageError(f"c3vg: width {self.width} must be a multiple of 4 and of heads ({self.heads}).")
        if self.beit_width % self.beit_heads:
            raise UsageError(f"c3vg: beit_width must be a multiple of {self.beit_heads}, not {self.beit_width}.")

    def settled(self) -> Self:
        """The options with `OFFICIAL` in place where `official` is set."""
        return replace(self, **OFFICIAL) if self.official else self

    @property
    def beit(self) -> Beit3Size:
        """Sizes of BEiT-3."""
        return Beit3Size(self.beit_width, self.beit_layers, self.beit_heads, self.beit_vocabulary)
