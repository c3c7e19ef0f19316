"""CLIP's encoders (arXiv 2103.00020) from open_clip, adapters for its text encoder, and its tokenizer.

No other file imports open_clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU, TextTransformer, VisionTransformer
from torch import Tensor, nn

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.adapted import AdaptedTextEncoder, SentencePlace
from rrsis_bench.nn.weights.files import fit
from rrsis_bench.types import InputSpec, Tokenized

OPENAI_INPUT: Mapping[str, tuple[float, float, float]] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
"""Mean and deviation that OpenAI's weights were trained with, as `InputSpec` fields."""


def build_clip_text(
    width: int = 512,
    depth: int = 12,
    heads: int = 8,
    vocabulary: int = 49_408,
    context: int = 77,
    output: int = 512,
    quick_gelu: bool = True,
) -> TextTransformer:
    """A CLIP text transformer with random weights; the defaults are those of ViT-B/16.

    Args:
        width: channels C.
        depth: number of blocks.
        heads: attention heads.
        vocabulary: number of token ids.
        context: number of positions, and the most tokens it takes.
        output: width of the sentence vector.
        quick_gelu: activation x * sigmoid(1.702 x), which OpenAI's weights were trained with.
    """
    return TextTransformer(
        context_length=context,
        vocab_size=vocabulary,
        width=width,
        heads=heads,
        layers=depth,
        output_dim=output,
        act_layer=QuickGELU if quick_gelu else nn.GELU,
    )


def text_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text transformer's tensors of a CLIP checkpoint (OpenAI's or open_clip's layout), or of a text-only file."""
    other = ("visual.", "logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size", "attn_mask")
    return {name.removeprefix("text."): tensor for name, tensor in state.items() if not name.startswith(other)}


def _frozen_part(block: Any, words: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
    """Words after a block's attention, and what its MLP makes of them."""
    words = words + block.ls_1(block.attention(block.ln_1(words), attn_mask=causal))
    return words, block.mlp(block.ln_2(words))


class AdaptedClipText(AdaptedTextEncoder):
    """CLIP's causal text transformer, frozen, with adapters in parallel with the MLPs of some blocks.

    Args:
        trunk: from `build_clip_text`; its parameters are frozen here.
        adapters: see `AdaptedTextEncoder`.
        sentence_at: where the sentence vector is read: at the `end`, the last real token, or at the `largest-id`, as
            CLIP's own code does. In CLIP's vocabulary both are the same place; in other vocabularies they may differ.
    """

    trunk: TextTransformer

    def __init__(
        self, trunk: TextTransformer, adapters: Mapping[int, nn.Module], sentence_at: SentencePlace = "end"
    ) -> None:
        super().__init__(trunk, adapters)
        self.sentence_at = sentence_at
        self.sentence_width = trunk.text_projection.shape[1]

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a CLIP checkpoint, or a file of its text encoder alone; see `AdaptedEncoder.load_tensors`."""
        fit(self.trunk, text_part(tensors), "CLIP text weights")

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode expressions; the words come after the last LayerNorm. See `AdaptedTextEncoder.forward`."""
        trunk = self.trunk
        length = ids.shape[1]
        # The plain encoder's own causal mask: a word never sees what follows it, padding included.
        causal = trunk.attn_mask[:length, :length]
        first = min((int(index) for index in self.adapters), default=len(trunk.transformer.resblocks))
        states: list[Tensor] = []
        state: Tensor | None = None
        with torch.no_grad():
            words = trunk.token_embedding(ids) + trunk.positional_embedding[:length]
        for index, block in enumerate(trunk.transformer.resblocks):
            with torch.no_grad() if index < first else nullcontext():
                words, change = self._run(_frozen_part, block, words, causal)
                if str(index) in self.adapters:
                    added, state = self.adapters[str(index)](words, mask, state)
                    change = change + added
                    if state is not None:
                        states.append(state)
                words = words + block.ls_2(change)
        words = trunk.ln_final(words)
        place = last_real(mask) if self.sentence_at == "end" else ids.argmax(1)
        return words, sentence_vector(trunk, words, place), states


def last_real(mask: Tensor) -> Tensor:
    """Position of the last real token of each row: mask (B, L) -> (B,)."""
    return (mask.sum(1) - 1).clamp(min=0)


def sentence_vector(trunk: TextTransformer, words: Tensor, place: Tensor) -> Tensor:
    """Project one token's features: words (B, L, C) and that token's position (B,) -> (B, S)."""
    sentence: Tensor = words[torch.arange(len(words), device=words.device), place] @ trunk.text_projection
    return sentence


def encode_plain(trunk: TextTransformer, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Run the encoder without adapters, with gradients: ids and mask (B, L) -> words (B, L, C), sentence (B, S)."""
    length = ids.shape[1]
    words = trunk.token_embedding(ids) + trunk.positional_embedding[:length]
    words = trunk.ln_final(trunk.transformer(words, attn_mask=trunk.attn_mask[:length, :length]))
    return words, sentence_vector(trunk, words, last_real(mask))


@cache
def _byte_pairs() -> SimpleTokenizer:
    return SimpleTokenizer()


class ClipTokenizer:
    """CLIP's byte pair encoding: start token, words, end token, zeros. A long text is cut before the end token."""

    def __init__(self, spec: InputSpec) -> None:
        """Load open_clip's vocabulary.

        Args:
            spec: `max_tokens` is the length L, from 2 to CLIP's 77.

        Raises:
            UsageError: L is outside that range.
        """
        if not 2 <= spec.max_tokens <= 77:
            raise UsageError(f"max_tokens is {spec.max_tokens}, but CLIP takes 2 to 77 tokens.")
        self.length = spec.max_tokens
        self.encoding = _byte_pairs()

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L."""
        words = self.encoding.encode(text)
        room = self.length - 2
        ids = [self.encoding.sot_token_id, *words[:room], self.encoding.eot_token_id]
        padding = self.length - len(ids)
        return Tokenized(ids + [0] * padding, [1] * len(ids) + [0] * padding, len(words) > room)


def build_clip_vision(
    image_size: int, patch: int, width: int, depth: int, heads: int, output: int, quick_gelu: bool = True
) -> VisionTransformer:
    """A CLIP vision transformer with random weights.

    Args:
        image_size: side in pixels of the images.
        patch: side in pixels of a patch.
        width: channels.
        depth: number of blocks.
        heads: attention heads.
        output: width of the space shared with the text.
        quick_gelu: activation x * sigmoid(1.702 x), which OpenAI's weights were trained with.
    """
    activation = QuickGELU if quick_gelu else nn.GELU
    return VisionTransformer(image_size, patch, width, depth, heads, 4.0, output_dim=output, act_layer=activation)
