"""Perturbations of an expression that leave its meaning: each takes the text, a severity and a random generator."""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np

from rrsis_bench.data.classes import DETERMINERS, PREPOSITIONS, STOPS, class_names
from rrsis_bench.data.perturb import wordlists as lists

_WORD = re.compile(r"[A-Za-z]+")
_ARTICLE = re.compile(r"\b(?:the|a|an)\s+(?=\w)", re.IGNORECASE)
_CLAUSE = re.compile(r"(?<!that)(?<!which)(?<!who)(?<!where) (?:is|are|was|were|has|have|can)\b", re.IGNORECASE)
"""A verb of the main clause: the text is a sentence, no noun phrase."""
_COMMAND = re.compile(
    r"^\W*(?:please|segment|find|locate|show|mark|outline|identify|highlight|can|could|would)\b", re.I
)
_PUT = r"(?:situated|located|positioned|seen|placed|found|parked|standing|lying)"
_ORDERED = re.compile(
    rf"^(?P<noun>(?:the|a|an)\s+[\w\s-]+?)\s+(?P<place>(?:{_PUT}\s+)?"
    r"(?:(?:on|at|in|near|above|below|beside|between)\s+(?:the|a|an)|next\s+to|to\s+the)\s+[\w\s-]+?)(?P<end>[.\s]*)$",
    re.IGNORECASE,
)
_ABOVE = re.compile(
    rf"^(?P<noun>(?:the|a|an)\s+[\w\s-]+?)\s+(?P<place>(?:{_PUT}\s+)?(?:above|below|near|beside|between)\s+[\w\s-]+?)(?P<end>[.\s]*)$",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    rf"^(?P<article>the)\s+(?P<attribute>{'|'.join(sorted(lists.COLOURS | lists.SIZES))}|leftmost|rightmost|topmost|"
    r"bottommost)\s+(?P<noun>[\w\s-]+?)(?P<end>[.\s]*)$",
    re.IGNORECASE,
)
_BREAKS = re.compile(
    r"\b(?:and|or|but|that|which|who|whose|is|are|has|have|where|while|with|than|from)\b|,"
    r"|\b(?!next\b)\w+\s+to\b(?!\s+the\s+(?:(?:far|upper|lower|top|bottom)[\s-]+)?(?:left|right|north|south|east|west)\s+of\b)"
    r"|\b(?!situated|located|positioned|placed)(?:\w+ing|\w+ed|clos\w+|near\w*|adjacent|parallel)\s+to\b",
    re.IGNORECASE,
)
"""Words by which a place may belong to a part of the phrase: moved, it would say something else."""
_SHADE = re.compile(r"dark|light|bright", re.IGNORECASE)


@cache
def _names_of_classes() -> frozenset[str]:
    """The words of the classes' names and synonyms, and their plurals."""
    names = [*class_names("any"), *(name for found in lists.SYNONYMS.values() for name in found)]
    singles = {word for name in names for word in name.split()}
    singles |= {_plural(word) for word in singles}
    return frozenset(singles)


@cache
def vocabulary() -> frozenset[str]:
    """Words that a typo must not give: names of classes, places, colours, sizes and closed classes."""
    closed = PREPOSITIONS | DETERMINERS | STOPS
    return _names_of_classes() | closed | lists.PLACES | lists.COLOURS | lists.SIZES | lists.REAL_WORDS


@cache
def _slipping() -> frozenset[str]:
    kept = lists.PLACES | lists.COLOURS | lists.SIZES | PREPOSITIONS | STOPS
    return frozenset(word for word in (_names_of_classes() | lists.COMMON) - kept if len(word) > 3)


def typos(text: str, severity: int, rng: np.random.Generator) -> str:
    """Slips in up to `severity` words: a neighbouring key, or a letter dropped, never the first or last letter.

    Names of classes and a few common words get them: their slips are known not to be other words, as "lake" becomes
    "lame". Words of place, colour and size stay, since a slip may turn one into another.
    """
    found = [one for one in _WORD.finditer(text) if one[0].lower() in _slipping()]
    hit = {int(place): _slip(found[int(place)][0], rng) for place in rng.permutation(len(found))[:severity]}
    for place in sorted(hit, reverse=True):
        text = text[: found[place].start()] + hit[place] + text[found[place].end() :]
    return text


def _slip(word: str, rng: np.random.Generator) -> str:
    slips = []
    for place in range(1, len(word) - 1):
        head, letter, tail = word[:place], word[place], word[place + 1 :]
        slips.append(head + tail)
        slips += [
            head + (key.upper() if letter.isupper() else key) + tail
            for key in lists.NEIGHBOURS.get(letter.lower(), "")
        ]  # fmt: skip
    good = [slip for slip in slips if slip.lower() not in vocabulary() and slip != word]
    return good[int(rng.integers(len(good)))] if good else word


def case(text: str, severity: int, rng: np.random.Generator) -> str:
    """1: a capital first letter. 2: each word's. 3: half of the words in capitals. 4: half of the letters. 5: all."""
    if severity == 1:
        return text[:1].upper() + text[1:]
    if severity == 2:
        return _WORD.sub(lambda word: word[0][0].upper() + word[0][1:], text)
    if severity == 3:
        return _WORD.sub(lambda word: word[0].upper() if rng.random() < 0.5 else word[0], text)
    if severity == 4:
        return "".join(letter.upper() if rng.random() < 0.5 else letter.lower() for letter in text)
    return text.upper()


def articles(text: str, severity: int, rng: np.random.Generator) -> str:
    """Drop a fifth of the articles for each degree of severity, at least one."""
    found = list(_ARTICLE.finditer(text))
    dropped = rng.permutation(len(found))[: math.ceil(len(found) * severity / 5)]
    for place in sorted(dropped.tolist(), reverse=True):
        text = text[: found[place].start()] + text[found[place].end() :]
    return text


def spelling(text: str, severity: int, rng: np.random.Generator) -> str:
    """American words in British spelling, and the reverse."""
    other = {**lists.SPELLINGS, **{british: american for american, british in lists.SPELLINGS.items()}}
    return _WORD.sub(lambda word: _cased(word[0], other.get(word[0].lower(), word[0])), text)


def synonyms(text: str, severity: int, rng: np.random.Generator) -> str:
    """Another name for each class that the text names."""

    def renamed(found: re.Match[str]) -> str:
        name = re.sub(r"[\s-]+", " ", found["name"].lower())
        names = lists.SYNONYMS[name]
        other = names[int(rng.integers(len(names)))]
        article = found["article"]
        if article and article.strip().lower() in ("a", "an"):
            article = _cased(article, "an " if other[0] in "aeiou" else "a ")
        return f"{article or ''}{_cased(found['name'], _plural(other) if found['plural'] else other)}"

    return _names().sub(renamed, text)


@cache
def _names() -> re.Pattern[str]:
    names = sorted(lists.SYNONYMS, key=len, reverse=True)
    joined = "|".join(name.replace(" ", r"[\s-]+") for name in names)
    after = "|".join(lists.NO_CLASS_BEFORE)
    return re.compile(
        rf"\b(?P<article>(?:an?\s+)?)(?<![\w-])(?P<name>{joined})(?P<plural>e?s)?\b(?![\s-]+(?:{after})\b)",
        re.IGNORECASE,
    )


def polite(text: str, severity: int, rng: np.random.Generator) -> str:
    """A polite request around the expression, longer for each degree of severity. A request stays as it is."""
    if _COMMAND.match(text) or not text.strip():
        return text
    clause = bool(_CLAUSE.search(text))
    frames = (lists.CLAUSE_FRAMES if clause else lists.FRAMES)[severity]
    frame = frames[int(rng.integers(len(frames)))]
    body = text.strip()
    if not clause:
        body = re.sub(r"[.\s]+$", "", body)
        body = re.sub(r"^(?:The|A|An)\b", lambda word: word[0].lower(), body)
    elif frame.endswith(" Thank you very much.") and not re.search(r"[.!?]$", body):
        body += "."
    return frame.format(body)


def order(text: str, severity: int, rng: np.random.Generator) -> str:
    """The place before the thing ("on the left, the ship"), or the attribute behind it ("the ship that is red")."""
    found = _ORDERED.match(text) or _ABOVE.match(text)
    if found and not _BREAKS.search(text):
        noun, place = found["noun"], found["place"]
        upper = noun[0].isupper()
        noun, place = noun[0].lower() + noun[1:], (place[0].upper() if upper else place[0]) + place[1:]
        return f"{place}, {noun}{found['end']}"
    found = _ATTRIBUTE.match(text)
    shade = found and _SHADE.fullmatch(found["attribute"]) and found["noun"].split()[0].lower() in lists.COLOURS
    if found and not shade and not _BREAKS.search(text) and not PREPOSITIONS & set(text.lower().split()):
        superlative = re.search(r"(?:est|most)$", found["attribute"], re.IGNORECASE)
        the = "the " if superlative else ""
        return f"{found['article']} {found['noun']} that is {the}{found['attribute'].lower()}{found['end']}"
    return text


def distractor(text: str, severity: int, rng: np.random.Generator) -> str:
    """As many sentences as the severity that say nothing of any object; from 4 on, the first stands before."""
    drawn = [lists.SENTENCES[int(place)] for place in rng.permutation(len(lists.SENTENCES))[:severity]]
    if text == text.lower():
        drawn = [sentence.lower() for sentence in drawn]
    body = text.rstrip()
    body += "" if re.search(r"[.!?]$", body) else "."
    before, after = (drawn[:1], drawn[1:]) if severity >= 4 else ([], drawn)
    return " ".join([*before, body, *after])


def _plural(word: str) -> str:
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(?:s|x|ch|sh)$", word) else "s")


def _cased(before: str, after: str) -> str:
    if before.isupper() and len(before.strip()) > 1:
        return after.upper()
    return after[0].upper() + after[1:] if before[0].isupper() else after
