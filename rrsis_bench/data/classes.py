"""Class names of the data sets, and which tokens of an expression cover a stretch of its text.

Spans are (start, end) characters of the expression.
"""

from __future__ import annotations

from collections.abc import Sequence

from rrsis_bench import config
from rrsis_bench.data.catalogue import describe
from rrsis_bench.data.sources import SOURCES, create
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.types import Tokenized

Span = tuple[int, int]

PREPOSITIONS = frozenset(
    [
        "in", "on", "at", "near", "by", "beside", "besides", "between", "behind", "below", "beneath", "under",
        "underneath", "above", "over", "across", "along", "alongside", "around", "beyond", "inside", "within",
        "outside", "opposite", "toward", "towards", "against", "from", "to", "next", "close", "adjacent", "before",
        "after", "through", "off", "up", "down",
    ]
)  # fmt: skip
"""Words of place and direction. "of" and "with" are none: they say what, not where."""
DETERMINERS = frozenset(
    [
        "the", "a", "an", "its", "this", "that", "these", "those", "their", "his", "her", "each", "every", "both",
        "all",
    ]
)  # fmt: skip
STOPS = frozenset(
    [
        "of", "with", "and", "or", "but", "that", "which", "who", "whose", "where", "while", "is", "are", "was", "were",
        "be", "being", "been", "has", "have", "had", "than", "as", "for", "not", "there", "it", "they", "also", "can",
    ]
)  # fmt: skip
"""Words that end a phrase: closed classes that never name a place."""


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """Class names by the name of a data set, by `any`, or as they are given.

    The suite's own sources cannot be overruled by a user's file, since trained networks depend on their lists.

    Args:
        classes: a source's name, `any` for the classes of all the suite's own sources, the name of a data set whose
            file states `info.classes`, or the names themselves.

    Raises:
        UsageError: an unknown name, or a data set without a list of classes.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes == "any":
        return tuple(dict.fromkeys(name for source in SOURCES for name in create(source).info.classes))
    found = create(classes).info.classes if classes in SOURCES else describe(classes).classes
    if not found:
        known = [name for name in {*SOURCES, *config.names("datasets")} if name != classes and describe(name).classes]
        raise UsageError(f"model.options.classes: no classes of '{classes}'.{did_you_mean(classes, [*known, 'any'])}")
    return found


def mark(tokens: Tokenized, spans: Sequence[Span]) -> list[int]:
    """A mask over the ids: 1 where a token's characters lie inside one of the spans."""
    return [
        int(any(start < end and start >= first and end <= last for first, last in spans)) for start, end in tokens.spans
    ]
