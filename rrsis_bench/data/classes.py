"""Class names of the data sets, and which tokens of an expression cover a stretch of its text.

Spans are (start, end) characters of the expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rrsis_bench.data.sources import refsegrs, risbench, rrsisd
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.types import Tokenized

Span = tuple[int, int]

CLASSES: Mapping[str, tuple[str, ...]] = {
    "rrsisd": rrsisd.CATEGORIES,
    "refsegrs": refsegrs.CATEGORIES,
    "risbench": risbench.CATEGORIES,
}
"""Class names by data set; `any` stands for all of them."""

PREPOSITIONS = frozenset(
    [
        "in", "on", "at", "near", "by", "beside", "besides", "between", "behind", "below", "beneath", "under",
        "underneath", "above", "over", "across", "along", "alongside", "around", "beyond", "inside", "within",
        "outside", "opposite", "toward", "towards", "against", "from", "to", "next", "close", "adjacent", "before",
        "after", "through", "off", "up", "down",
    ]
)  # fmt: skip
"""Words of place and direction. "of" and "with" are none: they say what, not where."""


def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
    """Class names by the name of a data set, by `any`, or as they are given.

    Raises:
        UsageError: an unknown name.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes == "any":
        return tuple(dict.fromkeys(name for names in CLASSES.values() for name in names))
    if classes not in CLASSES:
        raise UsageError(f"model.options.classes: unknown '{classes}'.{did_you_mean(classes, [*CLASSES, 'any'])}")
    return CLASSES[classes]


def mark(tokens: Tokenized, spans: Sequence[Span]) -> list[int]:
    """A mask over the ids: 1 where a token's characters lie inside one of the spans."""
    return [
        int(any(start < end and start >= first and end <= last for first, last in spans)) for start, end in tokens.spans
    ]
