"""A tokenizer without vocabulary, for any language and data set."""

from __future__ import annotations

import re
from zlib import crc32

from rrsis_bench.errors import UsageError
from rrsis_bench.types import InputSpec, Tokenized


class WordTokenizer:
    """Gives each word its checksum as id, and drops case and punctuation; long texts are cut, padding is 0."""

    def __init__(self, spec: InputSpec) -> None:
        """Read the length.

        Raises:
            UsageError: `max_tokens` is below 1.
        """
        if spec.max_tokens < 1:
            raise UsageError("max_tokens must be at least 1.")
        self.length = spec.max_tokens

    def __call__(self, text: str) -> Tokenized:
        """Ids of a text's words, below 2^31."""
        words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())
        ids = [crc32(word.encode("utf-8")) >> 1 for word in words[: self.length]]
        padding = self.length - len(ids)
        return Tokenized(ids + [0] * padding, [1] * len(ids) + [0] * padding, len(words) > self.length)
