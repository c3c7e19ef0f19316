"""The expression of a mirrored image: sides change places, or the image must not be mirrored.

1. Words of side change places, alone or in compounds: "left", "leftmost", "upperright", "top-left", "right-hand".
2. West and east change places too, alone or in compounds. Annotators see only the image and take its upper edge for
   north. In the mirrored image their words are true only if west and east are swapped.
3. "right" stays where it only strengthens another word ("right next to", "right-angled"). Words that merely contain a
   side stay too ("bright", "lowest").
4. An expression with a word of place that none of these rules covers has no mirrored form. Its image stays as it is.
"""

from __future__ import annotations

import re

_SWAPPED = {"left": "right", "right": "left", "west": "east", "east": "west"}

_CONTAINS = re.compile(r"[a-z]*(?:left|right|west|east)[a-z]*", re.IGNORECASE)
"""A word that holds a side."""

_SIDE = re.compile(
    r"(?P<before>(?:upper|lower|top|bottom|mid|middle|center|centre|far)?)(?P<side>left|right)"
    r"(?P<after>(?:er|most|wards?|hand|side|s)?)",
    re.IGNORECASE,
)
_COMPASS = re.compile(
    r"(?P<before>(?:north|south|far)?)(?P<side>west|east)(?P<after>(?:ern|ernmost|erly|most|wards?|bound|side)?)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"(?:bright(?:er|est|ly|ness|ened)?|upright|copyright(?:ed)?|outright|cleft|"
    r"lowest|newest|narrowest|slowest|shallowest|fewest|yellowest|least|beasts?)",
    re.IGNORECASE,
)
"""Words that hold a side by chance."""

_ANGLE = re.compile(r"[\s-]+(?:angle[sd]?|triang(?:le|les|ular)|of[\s-]way)\b", re.IGNORECASE)
"""After "right": a shape or a strip of land, whatever stands before."""

_STRENGTHENED = re.compile(
    r"[\s-]+(?:next[\s-]to|besides?|above|below|under|underneath|beneath|behind)\b", re.IGNORECASE
)  # fmt: skip
_UNCLEAR = re.compile(
    r"[\s-]+(?:in|at|on|by|near|along|across|over|inside|outside|between|after|before|around|against|through|up|down|"
    r"into|off|out|where|there|here|alone|open|behind)\b",
    re.IGNORECASE,
)
"""After a side without an article: "right in the middle" strengthens, "left" in "left by the pier" may be a verb."""

_PLACE_BEFORE = re.compile(
    r"(?:[-\w]-|\b(?:the|a|on|to|at|its|top|bottom|upper|lower|far|farthest|furthest|most|very|center|centre|middle|and|or)"
    r"\s+)$",
    re.IGNORECASE,
)
_VERB_BEFORE = re.compile(
    r"\b(?:has|have|had|having|that|which|who|just|is|are|was|were|be|been|being)\s+$", re.IGNORECASE
)
_SIDE_AFTER = re.compile(r"[\s-]+(?:of|hand|side|corner|edge|half|part)\b", re.IGNORECASE)

_COUNTED = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|\d+(?:st|nd|rd|th))\b"
    r"(?![\s-]+(?:\w+est|most)\b)",
    re.IGNORECASE,
)
"""A place in a row. Only the expression can say where the count starts. "second largest" is no place."""

_START = re.compile(
    r"\bfrom\s+(?:the\s+)?(?:far\s+)?(?:left|right|top|bottom|upper|lower|west|east|north|south)", re.IGNORECASE
)
_OTHER_PLACE = re.compile(
    r"\b(?:(?:anti|counter)?-?clockwise|o['’]?clock|starboard|port[\s-]side|(?:west|east)ern[\s-]style|[ns][we])\b"
    r"|(?-i:\b[WE]\b)",
    re.IGNORECASE,
)  # fmt: skip
"""Handed words and abbreviations that no rule mirrors."""


def flip_text(text: str) -> str | None:
    """The expression for the mirrored image, by the four rules above, in the same case.

    Args:
        text: the expression, in English.

    Returns:
        the expression, or None if a word of place is not known: "clockwise", "the third car", "right in the middle",
        any word in another script.
    """
    if any(letter.isalpha() and not letter.isascii() for letter in text):
        return None
    if _OTHER_PLACE.search(text) or (_COUNTED.search(text) and not _START.search(text)):
        return None
    pieces, end = [], 0
    for found in _CONTAINS.finditer(text):
        word = mirrored_word(found[0], text[: found.start()], text[found.end() :])
        if word is None:
            return None
        pieces += [text[end : found.start()], word]
        end = found.end()
    return "".join((*pieces, text[end:]))


def mirrored_word(word: str, before: str, after: str) -> str | None:
    """A word that holds a side, mirrored, between the text before and after it; None where its meaning is not clear."""
    if _HARMLESS.fullmatch(word):
        return word
    parts = _SIDE.fullmatch(word) or _COMPASS.fullmatch(word)
    if parts is None:
        return None
    alone = word.lower() if word.lower() in ("left", "right") else ""
    unplaced = not _PLACE_BEFORE.search(before)
    if alone and (_ANGLE.match(after) or (unplaced and _STRENGTHENED.match(after))):
        return word if alone == "right" else None
    unclear = _UNCLEAR.match(after) or (_VERB_BEFORE.search(before) and not _SIDE_AFTER.match(after))
    if alone and unplaced and unclear:
        return None
    return parts["before"] + _in_the_case_of(parts["side"], _SWAPPED[parts["side"].lower()]) + parts["after"]


def _in_the_case_of(side: str, other: str) -> str:
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other
