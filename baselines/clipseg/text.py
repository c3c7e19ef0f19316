"""The suite's tiny tokenizer as CLIP's text tower reads it."""

from __future__ import annotations

from dataclasses import replace

from rrsis_bench.data.text import TinyTokenizer
from rrsis_bench.types import Tokenized

LAST = 63
"""Id of the end token in a vocabulary of 64."""
TINY_END = 2
"""Id of the end token in the suite's tiny vocabulary."""


class TinyEndLast(TinyTokenizer):
    """The tiny tokenizer with the end token at `LAST`: transformers looks for an end token of id 2 in another way."""

    def __call__(self, text: str) -> Tokenized:
        """Token ids of a text."""
        found = super().__call__(text)
        return replace(found, ids=[LAST if id == TINY_END else id for id in found.ids])
