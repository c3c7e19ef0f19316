"""CroBIM-style network (after Dong et al., arXiv 2410.08613): a reconstruction.

The authors' overview figure shows the wiring; the insides of the blocks are ours, and each choice is an option
(`options.py`, `card.yaml`).

Legend: `B` batch, `H W` input pixels, `L` words, `P` prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.crobim.capm import CAPM, ConstantPrompts
from baselines.crobim.lgfa import LGFA
from baselines.crobim.mid import MID
from baselines.crobim.options import CroBIMOptions
from baselines.crobim.text import encode_with_prompts, position_ids, prompted_mask
from rrsis_bench.families.lavt.decoder import two_class_cross_entropy, two_class_dice
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.bert import encode_words
from rrsis_bench.nn.encoders.staged_and_bert import (
    build_staged_encoder,
    build_text_encoder,
    encoder_input,
    load_base_weights,
    recompute_blocks,
)
from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, reduce_mask, upsample
from rrsis_bench.types import Batch, MethodOutput, TextTokens

TABLES = ("relative_position_bias_table", "embeddings.", "position", "prompts", "level", "place")


@dataclass(frozen=True)
class EncodedExpression:
    """The results of the text encoder's two passes.

    Attributes:
        words: (B, L, C) of the pass over the words.
        mask: (B, L) bool, True for real words.
        prompted: (B, L + P, C) of the pass over words and prompts, prompts last.
        prompted_mask: (B, L + P) bool.
    """

    words: Tensor
    mask: Tensor
    prompted: Tensor
    prompted_mask: Tensor


class CroBIM(Method):
    """Pyramid -> CAPM -> two passes of the text encoder -> LGFA -> MID.

    Args:
        options: all choices; the defaults are the reconstruction's published size.
    """

    name: ClassVar[str] = "crobim"
    Options: ClassVar[type[Any]] = CroBIMOptions

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        self.options = options
        self.encoder = build_staged_encoder(options)
        self.input_spec = encoder_input(options)
        self.text = build_text_encoder(options)
        self.capm = build_prompter(self.encoder.channels, options)
        self.lgfa = LGFA(self.encoder.channels, options)
        self.mid = MID(options)

    def load_pretrained(self) -> dict[str, str]:
        """Load the encoders' base weights that the options name; see `Method.load_pretrained`."""
        return load_base_weights(self.options, self.encoder, self.text)

    def checkpoint_activations(self) -> None:
        """Run the blocks of both encoders again in the backward pass; see `Method.checkpoint_activations`."""
        recompute_blocks(self.encoder, self.text)

    def encode_image(self, images: Tensor) -> list[Tensor]:
        """Encode images (B, 3, H, W) as a pyramid: maps (B, C_i, h_i, w_i), finest first."""
        return [one.permute(0, 3, 1, 2) for one in self.encoder(images)]

    def encode_text(self, tokens: TextTokens, maps: list[Tensor]) -> EncodedExpression:
        """Run both passes of the text encoder; the second pass reads prompts that attended to the pyramid."""
        mask = tokens.mask.bool()
        words = encode_words(self.text, tokens.ids, mask)
        if self.capm is None:
            return EncodedExpression(words, mask, words, mask)
        options = self.options
        where = position_ids(mask, options.prompts, options.max_tokens, options.prompt_place == "before-sep")
        prompted = encode_with_prompts(self.text, tokens.ids, mask, self.capm(maps), where)
        return EncodedExpression(words, mask, prompted, prompted_mask(mask, options.prompts))

    def forward(self, batch: Batch) -> MethodOutput:
        """Logits (B, 1, H / 4, W / 4), or at a stride of 8, by `mid_stride`."""
        maps = self.encode_image(batch.images)
        text = self.encode_text(batch.tokens, maps)
        features = self.lgfa(maps, text.words, text.mask)
        return MethodOutput(self.mid(features, text.prompted, text.prompted_mask))

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """The terms that option `loss` names, on logits upsampled to the input."""
        size = (batch.masks.shape[-2], batch.masks.shape[-1])
        logits = upsample(output.logits, size)
        if self.options.loss == "two-class":
            classes = torch.cat((torch.zeros_like(logits), logits), 1)
            return {
                "ce": two_class_cross_entropy(classes, batch.masks),
                "dice": two_class_dice(classes, batch.masks, "sum"),
            }
        target = reduce_mask(batch.masks, size)
        losses = {"bce": binary_cross_entropy(logits, target)}
        if self.options.loss == "bce-dice":
            losses["dice"] = dice_loss(logits, target)
        return losses

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Encoders at the base rate, the rest at `head_rate` times it, sampling offsets at `offset_rate` times that.

        Vectors (biases, norms) and tables of positions, prompts and levels decay only with `decay_all`.
        """
        head = base_lr * self.options.head_rate
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            rate = base_lr if name.startswith(("encoder.", "text.")) else head
            rate = head * self.options.offset_rate if ".offsets." in name else rate
            plain = not self.options.decay_all and (parameter.ndim < 2 or any(word in name for word in TABLES))
            groups.setdefault((rate, 0.0 if plain else weight_decay), []).append(parameter)
        return [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]

    def encoders(self) -> dict[str, nn.Module]:
        """The visual and the text encoder."""
        return {"visual": self.encoder, "text": self.text}


def build_prompter(channels: tuple[int, ...], options: CroBIMOptions) -> CAPM | ConstantPrompts | None:
    """The module that makes the prompts; None without prompts."""
    if not options.prompts:
        return None
    if options.prompt_source == "constant":
        return ConstantPrompts(options.text_width, options.prompts)
    return CAPM(channels, options)
