"""SentencePiece files read without the library, and BEiT-3's tokenizer.

A SentencePiece model is a protobuf message. Its field 1, repeated, is a piece (1: text, 2: score as float32), and its
field 3 the normaliser (2: table of character replacements). `tokenizers` runs the model on the replaced text.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
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


class CharacterMap:
    """Replaces characters as SentencePiece does: at each place, the longest known run of bytes.

    `tokenizers` applies the same table to whole graphemes, and loses an accent behind a ligature.

    Args:
        table: size of a trie in bytes, the trie (a double array of 32-bit units), then the replacements, each ended by
            a zero byte. An empty table replaces nothing.
    """

    def __init__(self, table: bytes) -> None:
        size = int.from_bytes(table[:4], "little")
        self.units = array("I", table[4 : 4 + size])
        if sys.byteorder == "big":
            self.units.byteswap()
        self.replacements = table[4 + size :]

    def __call__(self, text: str) -> tuple[str, list[int]]:
        """The replaced text, and for each of its characters the position in `text` of the run that it comes from."""
        if not self.units:
            return text, list(range(len(text)))
        data = text.encode("utf-8", "replace")
        at = [k for k, character in enumerate(text) for _ in character.encode("utf-8", "replace")]
        pieces: list[str] = []
        places: list[int] = []
        place = 0
        while place < len(data):
            length, piece = self._longest(data, place)
            pieces.append(piece)
            places += [at[place]] * len(piece)
            place += length
        return "".join(pieces), places

    def _longest(self, data: bytes, place: int) -> tuple[int, str]:
        """Number of bytes of the longest known run at a place, and its replacement; else one character as it is."""
        units = self.units
        found: tuple[int, int] | None = None
        node = _offset(units[0])
        for end in range(place, len(data)):
            node ^= data[end]
            if node >= len(units) or units[node] & 0x800000FF != data[end]:
                break
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1:
                found = (end + 1 - place, units[node] & 0x7FFFFFFF)
        if found is None:
            end = place + 1
            while end < len(data) and data[end] & 0xC0 == 0x80:
                end += 1
            return end - place, data[place:end].decode("utf-8")
        stop = self.replacements.index(0, found[1])
        return found[0], self.replacements[found[1] : stop].decode("utf-8")


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


@cache
def beit3_encoding(path: Path) -> tuple[CharacterMap, Tokenizer]:
    """The tokenizer of a SentencePiece file in BEiT-3's numbering, without start and end.

    transformers 5 ignores the file in `XLMRobertaTokenizer(vocab_file=...)`, the call in released code. Its tokenizer
    then knows five tokens and maps every word to `<unk>`. Here the pieces are handed over, and their ids are checked.

    Returns:
        what replaces characters first, and the tokenizer of the replaced text.

    Raises:
        MissingResourceError: see `read_spm`; or the pieces do not have their ids.
    """
    found = read_spm(path)
    special = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary = [*special, *found.pieces[len(OWN) :], ("<mask>", 0.0)]
    encoding = Tokenizer(Unigram(vocabulary, unk_id=UNKNOWN, byte_fallback=False))
    encoding.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    first, last = found.pieces[len(OWN)][0], found.pieces[-1][0]
    ids = (encoding.get_vocab_size(), encoding.token_to_id(first), encoding.token_to_id(last))
    if ids != (len(vocabulary), UNKNOWN + 1, len(vocabulary) - 2):
        raise MissingResourceError(f"{path}: its {len(found.pieces)} pieces do not have BEiT-3's ids.")
    return CharacterMap(found.characters), encoding


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
        self.replace, self.encoding = beit3_encoding(resolve(spec.tokenizer_path))

    def __call__(self, text: str) -> Tokenized:
        """Token ids and mask of a text, both padded to L."""
        replaced, places = self.replace(text)
        found = self.encoding.encode(replaced)
        room = self.length - 2
        ids = [START, *found.ids[:room], END]
        rest = self.length - len(ids)
        # A word's mark alone, `▁`, has no characters.
        spans = [(places[a], places[b - 1] + 1) if b > a else (0, 0) for a, b in found.offsets[:room]]
        mask = [1] * len(ids) + [0] * rest
        spans = [(0, 0), *spans, *[(0, 0)] * (rest + 1)]
        return Tokenized(ids + [PADDING] * rest, mask, len(found.ids) > room, spans=spans)
