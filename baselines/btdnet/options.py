"""All named choices of the BTDNet-style reconstruction; what is known of the paper is in `card.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rrsis_bench.errors import UsageError
from rrsis_bench.families.lavt.family import Dice, FamilyOptions


@dataclass(frozen=True)
class BTDNetOptions(FamilyOptions):
    """The family's options and those of the three parts; the defaults are the reconstruction's full size.

    Attributes:
        max_tokens: length the token ids are cut or padded to (20 on RefSegRS).
        dice: see `FamilyOptions`; RMSIN's and FIANet's sum.
        decoder_width: channels of the laterals and of both streams.
        classes: class names that object words are looked up in: a data set's (`rrsisd`, `refsegrs`, `risbench`), `any`,
            or a list.
        object_rule: which of several class names in an expression is the object: the `longest`, or the `first`.
        fusion: how words enter the stages: `bsc`, or `pwam`, LAVT's one-way fusion and gate, to compare with.
        bsc_place: `inside` the encoder, through a gate into the next stage, or `after` it, on maps of a plain encoder.
        text_update: words read pixels and are passed on to the next stage (`pass`), each stage reads BERT's words and
            only the last one updates them (`reset`), or words never change (`none`: one-way).
        correlation: one matrix of pixels and words with a softmax in each direction (`shared`), or one each
            (`separate`).
        stage_norm: BSC reads a stage's output through a LayerNorm; what flows on is not normalised.
        gate_zero: the gate starts at 0, so that a pretrained encoder is undisturbed at first.
        head_width: channels of a head of the correlation.
        dilations: of the depthwise convolutions before the correlation; none leaves the map as it is.
        text_gain: start of the learned gain of the words' update.
        text_expansion: hidden width of the words' feed-forward layer over theirs.
        streams: a target and a background stream (`two`), or `one` that gives both logits.
        exchange: after `every` level, after the `last` only, or `none`.
        background_text: the sentence modulates the background stream too.
        stream_weight: of each stream's own cross entropy and Dice in the loss.
        dmols: which branches rebuild what was masked, in training: `both`, `text`, `image` or `none`.
        rebuild_weight: of the two rebuilding losses.
        rebuild_ramp: epochs over which that weight rises from 0.
        rebuild_level: the level (1 is the finest) whose map D-MOLS reads.
        rebuild_width: its width.
        rebuild_layers: transformer decoder layers of each branch.
        rebuild_heads: attention heads of these.
        rebuild_dropout: their dropout rate.
        mask_object: share of object cells that are masked.
        mask_rest: share of other cells that are masked.
        text_target: what masked words are rebuilt to: BERT's `features`, or token `ids`.
        image_target: what masked cells are rebuilt to: the map's `features`, or mean `colours`.
    """

    max_tokens: int = 22
    dice: Dice = "sum"
    decoder_width: int | None = 256
    classes: str | tuple[str, ...] = "any"
    object_rule: Literal["longest", "first"] = "longest"
    fusion: Literal["bsc", "pwam"] = "bsc"
    bsc_place: Literal["inside", "after"] = "inside"
    text_update: Literal["pass", "reset", "none"] = "pass"
    correlation: Literal["shared", "separate"] = "shared"
    stage_norm: bool = True
    gate_zero: bool = True
    head_width: int = 64
    dilations: tuple[int, ...] = (1, 2, 3)
    text_gain: float = 0.01
    text_expansion: int = 2
    streams: Literal["two", "one"] = "two"
    exchange: Literal["every", "last", "none"] = "every"
    background_text: bool = True
    stream_weight: float = 0.5
    dmols: Literal["both", "text", "image", "none"] = "both"
    rebuild_weight: float = 0.1
    rebuild_ramp: float = 2.0
    rebuild_level: int = 3
    rebuild_width: int = 256
    rebuild_layers: int = 2
    rebuild_heads: int = 8
    rebuild_dropout: float = 0.1
    mask_object: float = 0.5
    mask_rest: float = 0.1
    text_target: Literal["features", "ids"] = "features"
    image_target: Literal["features", "colours"] = "features"

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        if not 1 <= self.rebuild_level <= len(self.swin_depths):
            raise UsageError(f"btdnet: option 'rebuild_level' is 1 to {len(self.swin_depths)}.")
        widths = [self.swin_width * 2**stage for stage in range(len(self.swin_depths))]
        if self.fusion == "bsc" and any(width % self.head_width for width in widths):
            raise UsageError(f"btdnet: option 'head_width' must divide the stages' widths {widths}.")
        if self.rebuild_width % 4 or self.rebuild_width % self.rebuild_heads:
            raise UsageError("btdnet: option 'rebuild_width' must be a multiple of 4 and of rebuild_heads.")
