"""Length of an expression, and whether its words name a position or a relation, for breakdowns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

_IDEOGRAPH = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
"""Chinese characters and the Japanese syllabaries, which are written without blanks."""

_WORD = re.compile(rf"{_IDEOGRAPH}|(?:(?!{_IDEOGRAPH})[^\W_])+(?:['’][^\W_]+|(?<=\d)[.,]\d+)*")

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


_SUPERLATIVE = re.compile(
    r"\b(?:most|least|farthest|furthest|(?:left|right|top|bottom|upper|lower|inner|outer|north|south|east|west)most"
    r"|(?:(?:bigg|thinn|dimm)|(?:larg|small|tall|short|long|wid|narrow|bright|dark|light|near|clos|high|low|great|old"
    r"|new|round|thick|straight|steep|deep|shallow|broad|full|clean|clear|northern|southern|eastern|western))est)\b"
)
"""Superlatives that compare objects. A list: "forest" and "harvest" end in "est", too."""

_ORDINAL = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|penultimate|\d+(?:st|nd|rd|th))\b"
)

_COLOUR = re.compile(
    r"\b(?:white|gr[ae]y|black|red|brown|orange|yellow|green|blue|purple|pink|beige|tan|silver|golden|turquoise|cyan"
    r"|magenta|maroon|khaki)(?:ish)?\b|\bcolou?red\b"
)


WORD_EDGES = (0, 5, 10, 15, 20, 30, 40)
"""Upper bounds of the bins by number of words, inclusive."""

WORD_NAMES = ("0", "1-5", "6-10", "11-15", "16-20", "21-30", "31-40", ">40")


def count_words(text: str) -> int:
    """Number of words of an expression, the same for every method.

    A word is a run of letters and digits in any script. Hyphens, slashes and underscores separate words, since data
    sets write both "storage tank" and "storage-tank". An apostrophe between letters ("ship's"), a point or comma
    between digits ("3.5") and accents belong to the word. Other punctuation counts nothing. Chinese and Japanese are
    written without blanks: each of their characters counts as a word, as in word processors. Thai, Lao, Khmer and
    Burmese can be split only with a dictionary: a run between blanks counts as one word.

    Args:
        text: the expression as the data set gives it.
    """
    if not text.isascii():
        text = "".join(map(_plain, unicodedata.normalize("NFKC", text)))
    return len(_WORD.findall(text))


def _plain(letter: str) -> str:
    """A letter; a blank for a zero-width space; nothing for accents, joiners and soft hyphens, which end no word."""
    if letter == "\u200b":
        return " "
    return "" if unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf") else letter


def _folded(text: str) -> str:
    return " ".join(re.sub(r"[-_,.;:]", " ", text.lower()).split())


def names_position(text: str) -> bool:
    """Whether the expression says where in the image the referent is ("in the upper left", "the leftmost").

    A side of another object ("to the left of the ship") is no position.
    """
    return bool(_POSITION.search(_NO_POSITION.sub(" ", _folded(text))))


def names_relation(text: str) -> bool:
    """Whether the expression relates the referent to something else ("next to the bridge", "below another court")."""
    return bool(_RELATION.search(_folded(text)))


def names_superlative(text: str) -> bool:
    """Whether the expression picks the referent by a superlative ("the largest ship", "the leftmost one")."""
    return bool(_SUPERLATIVE.search(_folded(text)))


def names_ordinal(text: str) -> bool:
    """Whether the expression counts to the referent ("the second ship from the left", "the last one")."""
    return bool(_ORDINAL.search(_folded(text)))


def names_colour(text: str) -> bool:
    """Whether the expression names a colour ("the white airplane", "a reddish roof")."""
    return bool(_COLOUR.search(_folded(text)))


WORDINGS: Mapping[str, Callable[[str], bool]] = {
    "position": names_position,
    "relation": names_relation,
    "superlative": names_superlative,
    "ordinal": names_ordinal,
    "colour": names_colour,
}
"""What an expression may name, and how that is told."""
