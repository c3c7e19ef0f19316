"""RoBERTa (arXiv 1907.11692) from transformers, and its byte-pair tokens (`tokenizers`)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import RobertaConfig, RobertaModel

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.siglip import read_tokenizer
from rrsis_bench.nn.weights.files import fit, strip_prefixes
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import InputSpec, Tokenized

PADDING = 1
"""Id of the padding token; positions count from behind it."""


def build_roberta(
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    vocabulary: int = 50_265,
    positions: int = 514,
    dropout: float = 0.1,
) -> RobertaModel:
    """A RoBERTa encoder without pooler, with random weights; the defaults are those of RoBERTa-base.

    Args:
        width: hidden size; the feed-forward layers are four times as wide.
        layers: transformer layers.
        heads: attention heads.
        vocabulary: number of token ids.
        positions: rows of the position table, two more than the longest token sequence.
        dropout: rate for hidden states and attention.
    """
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=PADDING,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return RobertaModel(config, add_pooling_layer=False)


def load_roberta(roberta: RobertaModel, tensors: Mapping[str, Tensor]) -> None:
    """Load published parameters, with or without the `roberta.` prefix; the pooler and the heads are left out.

    Raises:
        MissingResourceError: what is left does not fit.
    """
    if any(name.startswith("roberta.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if name.startswith("roberta.")}
    kept = {
        name: value
        for name, value in strip_prefixes(tensors, ("roberta.",)).items()
        if not name.startswith(("pooler.", "lm_head.")) and not name.endswith("position_ids")
    }
    fit(roberta, kept, "RoBERTa weights")


class RobertaTokenizer:
    """RoBERTa's byte pairs of the text in lower case: start token, pairs, end token, padding at the right."""

    def __init__(self, spec: InputSpec) -> None:
        """Read the vocabulary.

        Args:
            spec: `tokenizer_path` names a `tokenizer.json` in a form of `WeightRef`, `max_tokens` is L.

        Raises:
            UsageError: no vocabulary is named, or L is below 3.
            MissingResourceError: the file is missing, or is not RoBERTa's tokenizer.
        """
        if spec.tokenizer_path is None:
            raise UsageError("the RoBERTa tokenizer needs its tokenizer.json: set model.options.tokenizer_path.")
        if spec.max_tokens < 3:
            raise UsageError("max_tokens must be at least 3: start, one word and end.")
        self.encoding = read_tokenizer(resolve(spec.tokenizer_path))
        self.length = spec.max_tokens
        start, end = self.encoding.token_to_id("<s>"), self.encoding.token_to_id("</s>")
        if start is None or end is None or self.encoding.token_to_id("<pad>") != PADDING:
            raise MissingResourceError(f"{spec.tokenizer_path} lacks <s>, </s> or <pad>: it is not RoBERTa's.")
        self.start, self.end = start, end

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L; a long text is cut before the end token."""
        words = self.encoding.encode(" ".join(text.lower().split()), add_special_tokens=False).ids
        room = self.length - 2
        ids = [self.start, *words[:room], self.end]
        rest = self.length - len(ids)
        return Tokenized(ids + [PADDING] * rest, [1] * len(ids) + [0] * rest, len(words) > room)
