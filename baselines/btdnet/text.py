"""The tokens of an expression that name its object; D-MOLS masks and rebuilds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rrsis_bench.data.classes import PREPOSITIONS, class_names, mark
from rrsis_bench.data.text import class_spans, load_tokenizer
from rrsis_bench.types import InputSpec, Tokenized

OBJECT, WORD = "object", "word"
"""Names of two masks: the object's tokens, and all tokens that stand for characters of the expression."""
_ENDS = PREPOSITIONS | {"of", "with"}


def object_tokens(text: str, tokens: Tokenized, classes: Sequence[str], rule: str = "longest") -> list[int]:
    """Mark the tokens of the object word.

    The object word is the longest (or the first) class name in the expression that is not cut off. Without a class name
    it is the word before the first preposition; without a preposition there is none.

    Args:
        text: the expression.
        tokens: its tokens.
        classes: class names, lower case.
        rule: `longest` or `first`.
    """
    named = class_spans(text, classes)
    if rule == "longest":
        named.sort(key=lambda span: -len(span[2]))  # stable: the first of equal length
    words = list(re.finditer(r"[^\W_]+(?:[-'][^\W_]+)*", text))
    first = next((place for place, word in enumerate(words) if word[0].lower() in _ENDS), 0)
    spans = [(start, end) for start, end, _ in named] + ([words[first - 1].span()] if first else [])
    reached = max((end for _, end in tokens.spans), default=0)
    whole = (span for span in spans if span[1] <= reached)
    return next((found for span in whole if any(found := mark(tokens, [span]))), [0] * len(tokens.ids))


class BTDNetTokenizer:
    """A tokenizer that adds the object's mask to each expression's ids.

    The input specification's `tokenizer_options` hold `base` (the tokenizer of the ids), `classes` and `rule`.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Load the tokenizer of the ids.

        Raises:
            UsageError: an unknown list of classes.
            MissingResourceError: a vocabulary is missing.
        """
        options = spec.tokenizer_options
        self._tokenize = load_tokenizer(replace(spec, tokenizer=options["base"]))
        self._classes = class_names(options["classes"])
        self._rule = str(options["rule"])

    def __call__(self, text: str) -> Tokenized:
        """Token ids of an expression, with `parts` `object` and `word`."""
        tokens = self._tokenize(text)
        found = object_tokens(text, tokens, self._classes, self._rule)
        words = [int(start < end) for start, end in tokens.spans]
        return replace(tokens, parts={**tokens.parts, OBJECT: found, WORD: words})
