"""What SAM 3 reads of an expression: all of it, or the words that name the object."""

from __future__ import annotations

from dataclasses import replace

from rrsis_bench.data.phrases import object_words
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.types import InputSpec, Tokenized


class ObjectTokenizer:
    """A tokenizer of an expression's object words.

    The input specification's `tokenizer_options` hold `base`, the tokenizer of the ids.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Load the tokenizer of the ids."""
        self._tokenize = load_tokenizer(replace(spec, tokenizer=spec.tokenizer_options["base"], tokenizer_options={}))

    def __call__(self, text: str) -> Tokenized:
        """Ids of the object words."""
        # Positions in the phrase are none in the expression.
        return replace(self._tokenize(object_words(text)), spans=[])
