"""All named choices of the CroBIM-style network. Which of them are ours: `card.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.staged_and_bert import EncoderOptions


@dataclass(frozen=True)
class CroBIMOptions(EncoderOptions):
    """Choices and sizes beside those of the encoders; the defaults are the reconstruction's published size.

    Attributes:
        prompts: learned prompts P behind the words. With 0 the text encoder runs once, without CAPM.
        prompt_source: `image` (CAPM: the prompts read the pyramid) or `constant` (learned alone).
        prompt_place: where the second pass puts them: `end`, behind the padding, or `before-sep`, in front of the last
            real token.
        capm_pooling: `channels` (every level pooled to one grid, channels joined) or `tokens` (every level pooled to a
            grid of its own, tokens joined).
        capm_grid: side in cells of that grid.
        capm_heads: attention heads of CAPM.
        width: channels D of everything behind the encoders, a multiple of 4 and of `heads`.
        heads: attention heads there.
        ffn: hidden width of the feed-forward parts there.
        lgfa_layers: layers of LGFA.
        points: sampling points per level and head of the deformable attention.
        fusion: how levels are mixed: `deformable`, or `levels` (a softmax over the levels at the pixel's own place).
        compensation: attention deficit of a cell: `mass` (attention it lacks), `level-weight` (what its own query
            leaves to the other levels) or `none`.
        given_back: the language-aware feature whose MLP fills the deficit: `before-fusion` or `after-fusion`.
        mid_layers: layers of MID.
        mid_stride: stride of the map MID works at, 4 or 8.
        mid_order: `alternate` (text side and image side in turn) or `text-first` (all of one, then all of the other).
        mid_direction: `both`, or the one alignment that is kept. Named after the side that asks:
            `language-to-vision` changes the text, `vision-to-language` the map.
        mid_self: tokens attend to each other before each language-to-vision alignment.
        pooling: one vector of the text: `softmax` over all real tokens, `cls` the first, `prompts` their mean, `maps`
            (a map per token, then a 1x1 convolution; the same as a learned weight per place).
        zero_init: what a part adds starts at zero: CAPM's attention, the compensation, MID's feed-forward parts.
        loss: `bce-dice`, `bce`, or `two-class` (RMSIN's: cross entropy with 0.9 and 1.1, Dice summed over samples;
            the background's logit is 0). Weights of the terms: `model.loss_weights`.
        head_rate: learning rate of all that is not an encoder, as a factor of the base rate.
        offset_rate: learning rate of the sampling offsets, as a factor of that.
        decay_all: weight decay on vectors and tables of positions, prompts and levels too.
    """

    prompts: int = 4
    prompt_source: Literal["image", "constant"] = "image"
    prompt_place: Literal["end", "before-sep"] = "end"
    capm_pooling: Literal["channels", "tokens"] = "channels"
    capm_grid: int = 15
    capm_heads: int = 12
    width: int = 256
    heads: int = 8
    ffn: int = 1024
    lgfa_layers: int = 4
    points: int = 4
    fusion: Literal["deformable", "levels"] = "deformable"
    compensation: Literal["mass", "level-weight", "none"] = "mass"
    given_back: Literal["before-fusion", "after-fusion"] = "before-fusion"
    mid_layers: int = 4
    mid_stride: Literal[4, 8] = 4
    mid_order: Literal["alternate", "text-first"] = "alternate"
    mid_direction: Literal["both", "language-to-vision", "vision-to-language"] = "both"
    mid_self: bool = True
    pooling: Literal["softmax", "cls", "prompts", "maps"] = "softmax"
    zero_init: bool = True
    loss: Literal["bce-dice", "bce", "two-class"] = "bce-dice"
    head_rate: float = 3.0
    offset_rate: float = 0.3
    decay_all: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work together.

        Raises:
            UsageError: naming the option and what to set instead.
        """
        for name in ("lgfa_layers", "mid_layers", "points", "capm_grid"):
            if getattr(self, name) < 1:
                raise UsageError(f"crobim: option '{name}' is at least 1, not {getattr(self, name)}.")
        if self.width % self.heads or self.width % 4:
            raise UsageError(f"crobim: width {self.width} must be a multiple of 4 and of heads ({self.heads}).")
        if self.text_width % self.capm_heads:
            raise UsageError(f"crobim: text_width {self.text_width} is no multiple of capm_heads {self.capm_heads}.")
        if self.prompts < 0 or self.max_tokens + self.prompts > self.text_positions:
            raise UsageError(
                f"crobim: {self.max_tokens} words and {self.prompts} prompts do not fit text_positions "
                f"{self.text_positions}."
            )
        if self.pooling == "prompts" and not self.prompts:
            raise UsageError("crobim: pooling=prompts needs prompts; set prompts to 4 or pooling to softmax.")
