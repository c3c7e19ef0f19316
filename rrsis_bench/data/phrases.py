"""The words of an expression that say what is meant, without where it is."""

from __future__ import annotations

import re

from rrsis_bench.data.classes import DETERMINERS, PREPOSITIONS, STOPS

_WORDS = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|[^\w\s]")


def object_words(text: str) -> str:
    """The first noun phrase of an expression that follows no preposition: "red ship" of "the red ship on the left".

    Words of closed classes and signs end a phrase, and determiners are left out. No tagger is used.

    Returns:
        the phrase as it is written; the whole expression if there is none.
    """
    phrase: list[str] = []
    placed = False  # whether the phrase follows a preposition
    for word in (match[0] for match in _WORDS.finditer(text)):
        lower = word.lower()
        if lower in DETERMINERS and not phrase:
            continue
        if lower not in PREPOSITIONS and lower not in STOPS and lower not in DETERMINERS and word[0].isalnum():
            phrase.append(word)
            continue
        if phrase and not placed:
            break
        phrase, placed = [], lower in PREPOSITIONS or (placed and lower == "of")
    return text if placed or not phrase else " ".join(phrase)
