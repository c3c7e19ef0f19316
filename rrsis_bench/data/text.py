"""Expressions: tokenizers by name, blank folding, and where a text names a class.

`python -m rrsis_bench.data.text` writes the tiny tokenizer's vocabulary from the synthetic grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

from rrsis_bench.errors import MissingResourceError, UsageError, UserError, did_you_mean
from rrsis_bench.types import InputSpec, Tokenized

TOKENIZERS: Mapping[str, str] = {
    "beit3": "rrsis_bench.nn.encoders.spm:Beit3Tokenizer",
    "bert": "rrsis_bench.nn.encoders.bert:BertTokenizer",
    "clip": "rrsis_bench.nn.encoders.clip:ClipTokenizer",
    "tiny": "rrsis_bench.data.text:TinyTokenizer",
}
TINY_VOCABULARY = Path(__file__).parent / "assets" / "tiny_vocab.txt"
TINY_SPECIAL = ("[pad]", "[start]", "[end]", "[unk]")


class Tokenizer(Protocol):
    """Turns a text of any length into exactly `spec.max_tokens` ids. Built as `Class(spec)`."""

    def __call__(self, text: str) -> Tokenized:
        """Token ids of a text."""


def load_tokenizer(spec: InputSpec) -> Tokenizer:
    """The tokenizer a method's input specification names.

    Args:
        spec: `tokenizer` is `beit3`, `bert`, `clip`, `tiny` or "module:Class".

    Raises:
        UsageError: an unknown name or a class that cannot be imported.
        MissingResourceError: its vocabulary is missing.
    """
    name = spec.tokenizer
    if name not in TOKENIZERS and ":" not in name:
        raise UsageError(f"unknown tokenizer '{name}'.{did_you_mean(name, list(TOKENIZERS))}")
    module, _, attribute = TOKENIZERS.get(name, name).partition(":")
    try:
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"tokenizer '{name}' cannot be loaded: {error}.") from error
    tokenizer: Tokenizer = cls(spec)
    return tokenizer


def stand_in_tokenizer(spec: InputSpec) -> Tokenizer:
    """A tokenizer for measurements, where the words do not matter: none is fetched, and none need be on disk."""
    if not (spec.tokenizer_path or "").startswith("hub:"):
        with suppress(MissingResourceError):
            return load_tokenizer(spec)
    return lambda text: Tokenized([1] * spec.max_tokens, [1] * spec.max_tokens, False)


class TinyTokenizer:
    """Whole words of the synthetic grammar: [pad] 0, [start] 1, [end] 2, [unk] 3, then the words in file order.

    Case and punctuation are dropped; a hyphen separates words. A text that is too long is cut and still ends in [end].
    """

    def __init__(self, spec: InputSpec) -> None:
        """Read the vocabulary.

        Args:
            spec: `max_tokens` is the length L (at least 2), `tokenizer_path` another vocabulary file.

        Raises:
            UsageError: `max_tokens` leaves no room for start and end.
            MissingResourceError: no vocabulary file.
        """
        if spec.max_tokens < 2:
            raise UsageError("max_tokens must be at least 2: one start and one end token.")
        self.length = spec.max_tokens
        self.vocabulary = read_vocabulary(Path(spec.tokenizer_path) if spec.tokenizer_path else TINY_VOCABULARY)

    def __call__(self, text: str) -> Tokenized:
        """Token ids of a text."""
        words = list(re.finditer(r"[^\W_]+(?:'[^\W_]+)?", text))
        room = self.length - 2
        ids = [1, *(self.vocabulary.get(word[0].lower(), 3) for word in words[:room]), 2]
        padding = self.length - len(ids)
        spans = [(0, 0), *(word.span() for word in words[:room]), *[(0, 0)] * (padding + 1)]
        return Tokenized(ids + [0] * padding, [1] * len(ids) + [0] * padding, len(words) > room, spans=spans)


@cache
def read_vocabulary(path: Path) -> Mapping[str, int]:
    """Word -> id of a vocabulary file: one token a line, its id the line's number from 0.

    Raises:
        MissingResourceError: the file is missing.
        UserError: the file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise MissingResourceError(
            f"vocabulary {path} cannot be read ({error.strerror}); reinstall rrsis-bench."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"vocabulary {path} is not UTF-8; save it as UTF-8, one token a line.") from error
    return {word: number for number, word in enumerate(lines)}


def normalise_text(text: str) -> str:
    """The text with every run of blanks, line ends and the like folded to one blank, and none at the ends."""
    return " ".join(text.split())


def class_spans(text: str, names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where an expression names a class: (start, end, name) in the order of the text.

    Only whole words count, in any case, also plurals and with hyphens for blanks ("Storage-Tanks"). Of several names at
    one place the longest wins ("road marking" over "road").

    Args:
        text: the expression.
        names: class names, lower case.
    """
    found = _class_pattern(tuple(names)).finditer(text) if names else ()
    return [(*match.span(), re.sub(r"[\s-]+", " ", match[1].lower())) for match in found]


@lru_cache(maxsize=64)
def _class_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    words = "|".join(r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", name)) for name in longest_first)
    return re.compile(rf"(?<![a-z0-9])({words})(?:e?s)?(?![a-z0-9])", re.IGNORECASE)


def main() -> None:
    """Write the tiny tokenizer's vocabulary from the synthetic grammar."""
    from rrsis_bench.data.synthetic.grammar import vocabulary
    from rrsis_bench.files import write_text

    write_text(TINY_VOCABULARY, tiny_vocabulary_text(vocabulary()))


def tiny_vocabulary_text(words: list[str]) -> str:
    """The vocabulary file for the grammar's words: special tokens, then the words sorted."""
    return "\n".join((*TINY_SPECIAL, *sorted(set(words) - set(TINY_SPECIAL)))) + "\n"


if __name__ == "__main__":
    main()
