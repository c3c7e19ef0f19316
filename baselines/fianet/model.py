"""FIANet (Lei et al., TGRS 2024): LAVT with object and position words aligned in every stage, and TMEM on the maps.

`rrsis_bench/families/lavt/family.py` holds the flow of a sample, `align.py` the stage, `tmem.py` the module on the
maps, `text.py` the two partial texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from baselines.fianet.align import FIANetStage
from baselines.fianet.text import OBJECT, POSITION, SplitRule
from baselines.fianet.tmem import TMEM
from baselines.fianet.weights import RELEASED
from rrsis_bench.families.lavt.family import Dice, FamilyOptions, LAVTFamily
from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures, Texts
from rrsis_bench.nn.encoders.bert import encode_words
from rrsis_bench.nn.weights.name_map import NameMap
from rrsis_bench.types import InputSpec, TextTokens


@dataclass(frozen=True)
class FIANetOptions(FamilyOptions):
    """The family's options and FIANet's own; the defaults are the network published for RRSIS-D.

    Attributes:
        max_tokens: length the token ids are cut or padded to (20 on RefSegRS).
        dice: see `FamilyOptions`; `sum` as released.
        tmem_blocks: blocks of TMEM (1 on RefSegRS).
        text_split: how object and position words are found: `whole-word`, the suite's own, or `official`, the released
            rules, which need NLTK and its tagger data.
        classes: names that count as objects: a data set's (`rrsisd`, `refsegrs`, `risbench`), `any`, or a list.
    """

    max_tokens: int = 22
    dice: Dice = "sum"
    tmem_blocks: int = 3
    text_split: SplitRule = "whole-word"
    classes: str | tuple[str, ...] = "any"


class FIANet(LAVTFamily):
    """The published network."""

    name: ClassVar[str] = "fianet"
    Options: ClassVar[type[Any]] = FIANetOptions
    released: ClassVar[NameMap] = RELEASED

    def build_stage(self, width: int, heads: int) -> nn.Module:
        """PWAM, object and position alignment, language gate and channel weights."""
        return FIANetStage(width, self.options.text_width, heads, self.options.fusion_drop)

    def build_refine(self, widths: Sequence[int]) -> nn.Module:
        """TMEM with the options' number of blocks."""
        return TMEM(widths, self.options.text_width, self.options.tmem_blocks)

    def build_input_spec(self) -> InputSpec:
        """The family's input; the tokenizer is wrapped to mark object and position words."""
        spec, options = super().build_input_spec(), self.options
        return replace(
            spec,
            tokenizer="baselines.fianet.text:FIANetTokenizer",
            tokenizer_options={"base": options.tokenizer, "mode": options.text_split, "classes": options.classes},
        )

    def encode_texts(self, tokens: TextTokens) -> Texts:
        """Encode the same ids under three masks, of all words, object words and position words, in one pass."""
        masks = {CONTEXT: tokens.mask, OBJECT: tokens.parts[OBJECT], POSITION: tokens.parts[POSITION]}
        stacked = torch.cat([mask.to(tokens.mask.dtype) for mask in masks.values()])
        states = encode_words(self.text, tokens.ids.repeat(len(masks), 1), stacked).chunk(len(masks))
        return {name: TextFeatures(part, mask) for (name, mask), part in zip(masks.items(), states, strict=True)}
