"""Expressions as C3VG's loader cleans them, as BEiT-3's tokens."""

from __future__ import annotations

from dataclasses import replace

from rrsis_bench.nn.encoders.spm import Beit3Tokenizer
from rrsis_bench.types import Tokenized

DROPPED = frozenset(".,'!?\"()*#:;")
BLANK = frozenset("-/")


def clean(text: str) -> tuple[str, list[int]]:
    """Write a text in lower case without punctuation, and a hyphen or slash as a blank.

    Returns:
        the cleaned text, and for each of its characters the position in `text` that it comes from.
    """
    kept = [
        (" " if letter in BLANK else letter, place)
        for place, character in enumerate(text)
        for letter in character.lower()
        if letter not in DROPPED
    ]
    return "".join(letter for letter, _ in kept), [place for _, place in kept]


class C3VGTokenizer(Beit3Tokenizer):
    """BEiT-3's tokens of the cleaned text. An empty text is `<s></s>`; the released loader stops at one."""

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L."""
        cleaned, places = clean(text)
        found = super().__call__(cleaned)
        spans = [(places[start], places[end - 1] + 1) if end > start else (0, 0) for start, end in found.spans]
        return replace(found, spans=spans)
