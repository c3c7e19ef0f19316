"""SentencePiece files read without the library, and BEiT-3's tokens of them.

`fixtures/tiny.spm` is a unigram model of 280 pieces with a few replacements of characters, trained on this repository's
READMEs by SentencePiece 0.2.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.spm import UNKNOWN, CharacterMap, beit3_encoding, read_spm
from rrsis_bench.types import InputSpec, Tokenized

TINY = Path(__file__).resolve().parents[1] / "fixtures" / "tiny.spm"
LETTERS = "abcdefgh shipTE.,-()3é\u00a0\tﬁＡ…ß½ö漢🙂e\u0301 the  "


def tokens(text: str, length: int = 40, path: Path = TINY) -> Tokenized:
    return load_tokenizer(InputSpec((32, 32), "beit3", length, tokenizer_path=str(path)))(text)


def field(number: int, value: bytes | float) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    size, length = b"", len(value)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def written(path: Path, pieces: list[tuple[str, float]], characters: bytes = b"") -> Path:
    """A SentencePiece file, with fields that the reader skips."""
    body = b"".join(field(1, field(1, text.encode()) + field(2, score) + b"\x18\x02") for text, score in pieces)
    path.write_bytes(body + field(2, b"\x08\x03") + field(3, field(1, b"own") + field(2, characters) + b"\x18\x01"))
    return path


OWN = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]


def test_pieces_scores_and_characters_are_read(tmp_path: Path) -> None:
    pieces = [*OWN, ("▁ship", -1.5), ("▁", -2.0), ("s" * 300, -9.25)]
    found = read_spm(written(tmp_path / "a.spm", pieces, b"table" * 100))
    assert found.pieces == tuple(pieces)
    assert found.characters == b"table" * 100


def test_ids_are_those_of_xlm_roberta(tmp_path: Path) -> None:
    path = written(tmp_path / "a.spm", [*OWN, ("▁ship", -1.0), ("▁red", -1.0), ("▁", -5.0), ("x", -6.0)])
    found = tokens("red ship  ? x", 10, path)
    assert found.ids == [0, 5, 4, 6, 3, 6, 7, 2, 1, 1]
    assert found.mask == [1] * 8 + [0] * 2
    assert not found.truncated
    assert found.spans[1:3] == [(0, 3), (4, 8)]
    cut = tokens("red ship red ship", 4, path)
    assert (cut.ids, cut.mask, cut.truncated) == ([0, 5, 4, 2], [1] * 4, True)


def test_the_library_s_call_knows_five_tokens_and_ours_knows_every_piece() -> None:
    """Released code makes its tokenizer by a call that transformers 5 answers without an error, and wrongly."""
    transformers = pytest.importorskip("transformers")
    text = "the ship near the harbour"
    trap = transformers.XLMRobertaTokenizer(vocab_file=str(TINY))
    if len(trap) == 5:
        assert set(trap(text)["input_ids"][1:-1]) == {UNKNOWN}
    pieces = read_spm(TINY).pieces
    _, encoding = beit3_encoding(TINY)
    assert encoding.get_vocab_size() == len(pieces) + 2
    assert [encoding.token_to_id(piece) for piece, _ in pieces[3:]] == list(range(4, len(pieces) + 1))
    ids = tokens(text).ids
    assert UNKNOWN not in ids
    assert len(set(ids)) > 5


def test_ids_of_the_fixture_stay_as_they_are() -> None:
    """What SentencePiece gave for these texts, in BEiT-3's numbering."""
    stored = (TINY.parent / "tiny_spm_ids.txt").read_text(encoding="utf-8").splitlines()
    assert len(stored) == 20
    for line in stored:
        text, ids = line.rsplit("\t", 1)
        found = tokens(text.encode().decode("unicode_escape"), 80)
        assert found.ids[: sum(found.mask)] == [0, *map(int, ids.split()), 2], text


def test_ids_equal_sentencepiece_s() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    referee = sentencepiece.SentencePieceProcessor(model_file=str(TINY))
    draw = random.Random(0)
    replace, encoding = beit3_encoding(TINY)
    for _ in range(1000):
        text = "".join(draw.choice(LETTERS) for _ in range(draw.randint(0, 40)))
        expected = [UNKNOWN if i == 0 else i + 1 for i in referee.encode(text)]
        assert encoding.encode(replace(text)[0]).ids == expected, repr(text)


def test_characters_are_replaced_and_their_places_kept() -> None:
    replace = CharacterMap(read_spm(TINY).characters)
    assert replace("ﬁ…e\u0301x") == ("fi...éx", [0, 0, 1, 1, 1, 2, 4])
    assert CharacterMap(b"")("ﬁx") == ("ﬁx", [0, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TINY.read_bytes()[:-700], "ends [0-9]+ bytes early"),
        (b"not protobuf at all", "no SentencePiece model"),
        (b"", "must start with the pieces <unk>, <s>, </s>"),
        (field(1, field(1, b"<pad>") + field(2, 0.0)), "must start with"),
        (field(1, b"\x10\x01"), "no SentencePiece model"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.spm"
    path.write_bytes(content)
    with pytest.raises(MissingResourceError, match=message) as caught:
        read_spm(path)
    assert str(path) in str(caught.value)


def test_a_file_of_special_pieces_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="must start with"):
        read_spm(written(tmp_path / "a.spm", OWN))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs beit3\.spm"):
        load_tokenizer(InputSpec((32, 32), "beit3", 10))
    with pytest.raises(MissingResourceError, match="does not exist"):
        tokens("x", 10, tmp_path / "gone.spm")
    with pytest.raises(UsageError, match="at least 3"):
        tokens("x", 2)
