"""Expressions as Grounding DINO reads them: lower case, with a full stop at the end."""

from __future__ import annotations

from dataclasses import replace

from rrsis_bench.data.text import TinyTokenizer, load_tokenizer
from rrsis_bench.types import InputSpec, Tokenized

START, END, STOP = 101, 102, 1012
"""Ids of BERT's [CLS], [SEP] and full stop, by which the library finds where a phrase ends."""


class CaptionTokenizer:
    """A tokenizer of the expression as a caption.

    The input specification's `tokenizer_options` hold `base`, the tokenizer of the ids.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Load the tokenizer of the ids."""
        base = replace(spec, tokenizer=spec.tokenizer_options["base"], tokenizer_options={})
        self._tokenize = load_tokenizer(base)

    def __call__(self, text: str) -> Tokenized:
        """Ids of the caption; a caption that is too long is cut, and still ends in full stop and end token."""
        caption = text.strip().lower()
        found = self._tokenize(caption if caption.endswith(".") else f"{caption}.")
        if not found.truncated:
            return found
        return replace(found, ids=[*found.ids[:-2], STOP, END])


class TinyCaptionTokenizer(TinyTokenizer):
    """The suite's tiny tokenizer with BERT's ids for start and end, and a full stop before the end."""

    def __init__(self, spec: InputSpec) -> None:
        """Read the vocabulary."""
        super().__init__(replace(spec, max_tokens=spec.max_tokens - 1))

    def __call__(self, text: str) -> Tokenized:
        """Token ids of a text."""
        found = super().__call__(text)
        used = sum(found.mask)
        words, padding = found.ids[1 : used - 1], [0] * (len(found.ids) - used)
        spans = [*found.spans[: used - 1], (0, 0), *found.spans[used - 1 :]]
        return replace(
            found,
            ids=[START, *words, STOP, END, *padding],
            mask=[*[1] * (used + 1), *padding],
            spans=spans,
        )
