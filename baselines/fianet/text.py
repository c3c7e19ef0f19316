"""FIANet's two partial texts: the tokens of an expression that name objects, and those that say where the objects are.

There are two ways to find them. The suite's own needs no download: it takes class names as whole words and position
phrases by a small set of closed word classes, and marks the word pieces that cover them. `official` repeats the
released rules with their slips: NLTK's words and tags, class names as substrings, and masks that count words although
the ids are word pieces.

Spans are (start, end) characters of the expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Literal

from rrsis_bench.data.classes import DETERMINERS, PREPOSITIONS, STOPS, Span, class_names, mark
from rrsis_bench.data.text import class_spans, load_tokenizer
from rrsis_bench.errors import MissingResourceError
from rrsis_bench.types import InputSpec, Tokenized

TextSplit = Callable[[str, Tokenized], tuple[list[int], list[int]]]
"""Maps an expression and its tokens to the object mask and the position mask, each of length L."""

OBJECT, POSITION = "object", "position"
SplitRule = Literal["whole-word", "official"]


_CONTENT = 4
"""Words a phrase holds at most after preposition and determiner: "in the lower left corner"."""


@dataclass(frozen=True)
class Phrases:
    """The object and position phrases of an expression.

    Attributes:
        objects: spans that name a class.
        positions: spans that say where.
    """

    objects: tuple[Span, ...]
    positions: tuple[Span, ...]


def split_expression(text: str, classes: Sequence[str]) -> Phrases:
    """Find object and position phrases by the suite's own rule.

    Objects are all class names as whole words, plural or not. A position phrase is a preposition, further prepositions
    ("next to"), a determiner and one to four words before the next closed-class word or sign.

    Args:
        text: the expression.
        classes: class names, lower case.
    """
    objects = tuple((start, end) for start, end, _ in class_spans(text, classes))
    words = [(match[0].lower(), match.span()) for match in re.finditer(r"[^\W_]+(?:[-'][^\W_]+)*|[^\w\s]", text)]
    positions: list[Span] = []
    at = 0
    while at < len(words):
        if words[at][0] not in PREPOSITIONS:
            at += 1
            continue
        end = at
        while end < len(words) and words[end][0] in PREPOSITIONS:
            end += 1
        if end < len(words) and words[end][0] in DETERMINERS:
            end += 1
        content = 0
        while end + content < len(words) and content < _CONTENT and _is_content(words[end + content][0]):
            content += 1
        if content:
            positions.append((words[at][1][0], words[end + content - 1][1][1]))
        at = end + content
    return Phrases(objects, tuple(positions))


def _is_content(word: str) -> bool:
    closed = word in PREPOSITIONS or word in DETERMINERS or word in STOPS
    return not closed and word[0].isalnum()


def whole_word_split(classes: Sequence[str]) -> TextSplit:
    """The suite's own split. Without a position phrase, the position text is the whole expression."""

    def split(text: str, tokens: Tokenized) -> tuple[list[int], list[int]]:
        phrases = split_expression(text, classes)
        positions = mark(tokens, phrases.positions)
        return mark(tokens, phrases.objects), positions if any(positions) else list(tokens.mask)

    return split


# --- the released rules -----------------------------------------------------------------------------------------------

_ADJECTIVE = ("JJ", "JJR", "JJS")
_CHUNKS: Sequence[Sequence[tuple[tuple[str, ...], bool]]] = (
    ((("IN",), False), (("DT",), True), (_ADJECTIVE, True), (("NN",), False)),
    ((("IN",), False), (("DT",), True), (_ADJECTIVE, True), (("JJ",), False)),
    ((("IN",), False), (("DT",), True), (_ADJECTIVE, False), (("VBD",), False)),
)
"""Chunk rules in their order of application; each is a sequence of (tags, whether the place may be empty)."""


def official_split(
    classes: Sequence[str],
    words_of: Callable[[str], list[str]] | None = None,
    tags_of: Callable[[list[str]], list[str]] | None = None,
) -> TextSplit:
    """The released rules (`dataset` classes of the official code), with masks cut to the token limit.

    Class names match as case-sensitive substrings ("dam" in "damaged"). Both masks count words, not word pieces, and a
    phrase is marked where its first word first occurs. Official masks that exceed the limit break the batch; ours end
    at the limit.

    Args:
        classes: class names.
        words_of: word tokeniser; None for NLTK's.
        tags_of: Penn tags of words; None for NLTK's averaged perceptron.

    Raises:
        MissingResourceError: NLTK or its data are missing.
    """
    if words_of is None or tags_of is None:
        words_of, tags_of = _nltk()
    word_lists = {name: words_of(name) for name in classes}

    def split(text: str, tokens: Tokenized) -> tuple[list[int], list[int]]:
        words = words_of(text)
        objects, positions = [0] * len(tokens.ids), [0] * len(tokens.ids)
        for name, parts in word_lists.items():
            if name in text:
                _mark_words(objects, next((i for i, word in enumerate(words) if parts[0] in word), 0), len(parts))
        for chunk in _chunks(words, tags_of(words)):
            phrase = words_of(" ".join(chunk))
            if "of" not in " ".join(chunk):
                _mark_words(positions, next((i for i, word in enumerate(words) if word == phrase[0]), 0), len(phrase))
        return objects, positions if any(positions) else list(tokens.mask)

    return split


def _mark_words(mask: list[int], first: int, count: int) -> None:
    """Mark words by their number in the sentence; id 0 is the start token."""
    for place in range(first + 1, min(first + 1 + count, len(mask))):
        mask[place] = 1


def _chunks(words: Sequence[str], tags: Sequence[str]) -> list[list[str]]:
    """The words of each chunk, in the order of the sentence; a rule matches only words outside earlier chunks."""
    taken = [False] * len(words)
    found: list[Span] = []
    for rule in _CHUNKS:
        at = 0
        while at < len(words):
            end = _match(rule, tags, taken, at)
            if end is None:
                at += 1
                continue
            taken[at:end] = [True] * (end - at)
            found.append((at, end))
            at = end
    return [list(words[start:end]) for start, end in sorted(found)]


def _match(
    rule: Sequence[tuple[tuple[str, ...], bool]], tags: Sequence[str], taken: Sequence[bool], at: int
) -> int | None:
    """The end of a rule's match that starts at a word, with optional places filled if possible; None for no match."""
    if not rule:
        return at
    (wanted, optional), rest = rule[0], rule[1:]
    if at < len(tags) and not taken[at] and tags[at] in wanted:
        end = _match(rest, tags, taken, at + 1)
        if end is not None:
            return end
    return _match(rest, tags, taken, at) if optional else None


@cache
def _nltk() -> tuple[Callable[[str], list[str]], Callable[[list[str]], list[str]]]:
    remedy = (
        "FIANet's text_split 'official' needs NLTK and its tagger: pip install nltk && "
        "python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng. The default, 'whole-word', needs neither."
    )
    if find_spec("nltk") is None:
        raise MissingResourceError(remedy)
    import nltk

    def words_of(text: str) -> list[str]:
        return list(nltk.word_tokenize(text))

    def tags_of(words: list[str]) -> list[str]:
        return [tag for _, tag in nltk.pos_tag(words)]

    try:
        tags_of(words_of("the ship on the left"))
    except LookupError as error:
        raise MissingResourceError(remedy) from error
    return words_of, tags_of


# --- the tokenizer ----------------------------------------------------------------------------------------------------


class FIANetTokenizer:
    """A tokenizer that adds the object and the position mask to each expression's ids.

    The input specification's `tokenizer_options` hold `base` (the tokenizer of the ids), `mode` and `classes`.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Load the tokenizer of the ids and the rules.

        Raises:
            UsageError: an unknown list of classes.
            MissingResourceError: a vocabulary, NLTK or its data is missing.
        """
        options = spec.tokenizer_options
        self._tokenize = load_tokenizer(replace(spec, tokenizer=options["base"]))
        classes = class_names(options["classes"])
        mode: SplitRule = options["mode"]
        self._split = official_split(classes) if mode == "official" else whole_word_split(classes)

    def __call__(self, text: str) -> Tokenized:
        """Ids of an expression, with `parts` `object` and `position`."""
        tokens = self._tokenize(text)
        objects, positions = self._split(text, tokens)
        return replace(tokens, parts={**tokens.parts, OBJECT: objects, POSITION: positions})
