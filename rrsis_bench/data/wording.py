"""Does an expression name a position in the image, or a relation to another object? By words alone, for breakdowns."""

from __future__ import annotations

import re

_WHOLE = r"(?:the |this )?(?:whole |entire )?(?:image|picture|photo|photograph|scene|frame|view|map)\b"
"""The image itself: "to the left of the image" is a position, "to the left of the ship" a relation."""

_PART = r"the (?:\w+ )?(?:left|right|top|bottom|upper|lower|center|centre|middle|edge|corner)\b"
"""A part of the image: "closest to the top edge" is a position."""

_SIDE = rf"(?:left|right|top|bottom|north|south|east|west)(?: side)? of (?!{_WHOLE})"

_RELATION = re.compile(
    rf"\b(?:{_SIDE}"
    rf"|(?:closest|close|nearest|next|adjacent|parallel|opposite|connected|attached) to (?!{_WHOLE}|{_PART})"
    rf"|(?:near|along|around|inside|within|over) (?!{_WHOLE}|{_PART})"
    r"|(?:in front of|on top of|surrounded by|flanked by|across from|above|below|beneath|underneath|under|behind"
    r"|besides?|between|among|alongside|nearby|outside|facing)\b)"
)

_POSITION = re.compile(
    r"\b(?:left|right|top|bottom|upper|lower|uppermost|lowermost|topmost|bottommost|leftmost|rightmost|middle|"
    r"cent(?:er|re)|central|corner|edge|border|north(?:east|west)?(?:ern)?|south(?:east|west)?(?:ern)?|east(?:ern)?|"
    r"west(?:ern)?)\b"
)

_NO_POSITION = re.compile(rf"\b(?:{_SIDE}|on top of|right (?:next|beside|above|below|under))")


def _folded(text: str) -> str:
    return " ".join(re.sub(r"[-_,.;:]", " ", text.lower()).split())


def names_position(text: str) -> bool:
    """Whether the expression says where in the image the referent is ("in the upper left", "the leftmost").

    A side of another object ("to the left of the ship") is none.
    """
    return bool(_POSITION.search(_NO_POSITION.sub(" ", _folded(text))))


def names_relation(text: str) -> bool:
    """Whether the expression relates the referent to something else ("next to the bridge", "below another court")."""
    return bool(_RELATION.search(_folded(text)))
