"""SentencePiece files read without the library, and BEiT-3's tokenizer.

A SentencePiece model is a protobuf message. Its field 1, repeated, is a piece (1: text, 2: score as float32), and its
field 3 the normaliser (2: table of character replacements). `tokenizers` runs the model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.weights.refs import resolve
from rrsis_bench.types import InputSpec, Tokenized

START, PADDING, END, UNKNOWN = range(4)
"""Ids of `<s>`, `<pad>`, `</s>` and `<unk>` in XLM-RoBERTa's numbering, which BEiT-3 has."""
OWN = ("<unk>", "<s>", "</s>")
"""The first three pieces of a file; piece number i >= 3 has the id i + 1."""


@dataclass(frozen=True)
class SentencePieces:
    """What a SentencePiece file holds.

    Attributes:
        pieces: (text, score) of each piece, in the file's order.
        characters: table of character replacements, empty for none.
    """

    pieces: tuple[tuple[str, float], ...]
    characters: bytes


def read_spm(path: Path) -> SentencePieces:
    """Read a SentencePiece file.

    Raises:
        MissingResourceError: the file is missing, cut off, or no SentencePiece model.
    """
    pieces: list[tuple[str, float]] = []
    characters = b""
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1:
                piece = dict(_fields(value))
                pieces.append((piece[1].decode("utf-8"), struct.unpack("<f", piece.get(2, bytes(4)))[0]))
            elif number == 3:
                characters = dict(_fields(value)).get(2, b"")
    except OSError as error:
        raise MissingResourceError(f"SentencePiece file {path} cannot be read ({error.strerror}).") from error
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise MissingResourceError(f"{path} is no SentencePiece model: {error}.") from error
    if tuple(text for text, _ in pieces[:3]) != OWN or len(pieces) <= len(OWN):
        raise MissingResourceError(f"{path} is no SentencePiece model: it must start with the pieces {', '.join(OWN)}.")
    return SentencePieces(tuple(pieces), characters)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each field of a protobuf message; a varint's bytes are empty, since none is needed."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            _, place = _varint(data, place)
            yield key >> 3, b""
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"wire type {kind} at byte {place}")
        size, place = _varint(data, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if place + size > len(data):
            raise ValueError(f"it ends {place + size - len(data)} bytes early")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place


@cache
def beit3_encoding(path: Path) -> Tokenizer:
    """The tokenizer of a SentencePiece file in BEiT-3's numbering, without start and end.

    transformers 5 ignores `XLMRobertaTokenizer(vocab_file=...)`, the call in released code. Its tokenizer then knows five
    tokens and maps every word to `<unk>`. Here the pieces are handed over, and what was built is checked.

    Raises:
        MissingResourceError: see `read_spm`; or the pieces do not have their ids.
    """
    found = read_spm(path)
    special = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary = [*special, *found.pieces[len(OWN) :], ("<mask>", 0.0)]
    encoding = Tokenizer(Unigram(vocabulary, unk_id=UNKNOWN, byte_fallback=False))
    if found.characters:
        encoding.normalizer = normalizers.Precompiled(found.characters)
    encoding.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    first, last = found.pieces[len(OWN)][0], found.pieces[-1][0]
    ids = (encoding.get_vocab_size(), encoding.token_to_id(first), encoding.token_to_id(last))
    if ids != (len(vocabulary), UNKNOWN + 1, len(vocabulary) - 2):
        raise MissingResourceError(
            f"{path}: its {len(found.pieces)} pieces do not have the ids that BEiT-3 gives them."
        )
    return encoding


class Beit3Tokenizer:
    """BEiT-3's tokens: `<s>` pieces `</s>`, letter case kept, padded with `<pad>`.

    A long text is cut, and still ends in `</s>`.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Read the vocabulary.

        Args:
            spec: `tokenizer_path` names BEiT-3's SentencePiece file in a form of `WeightRef`, `max_tokens` is L.

        Raises:
            UsageError: no file is named, or L leaves no room for a word.
            MissingResourceError: the file is missing or no SentencePiece model.
        """
        if spec.tokenizer_path is None:
            raise UsageError("the BEiT-3 tokenizer needs beit3.spm: name it by model.options.tokenizer_path.")
        if spec.max_tokens < 3:
            raise UsageError("max_tokens must be at least 3: one word between start and end.")
        self.length = spec.max_tokens
        self.encoding = beit3_encoding(resolve(spec.tokenizer_path))

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L."""
        found = self.encoding.encode(text)
        room = self.length - 2
        ids = [START, *found.ids[:room], END]
        rest = self.length - len(ids)
        spans = [(0, 0), *found.offsets[:room], *[(0, 0)] * (rest + 1)]
        mask = [1] * len(ids) + [0] * rest
        return Tokenized(ids + [PADDING] * rest, mask, len(found.ids) > room, spans=spans)
