from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrsis_bench.data import text
from rrsis_bench.data.synthetic.grammar import vocabulary
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.types import InputSpec

EXPRESSIONS = (Path(__file__).parents[1] / "fixtures/risbench/expressions.txt").read_text(encoding="utf-8").splitlines()
SPEC = InputSpec((32, 32), "tiny", 12)


def test_vocabulary_file_is_the_grammars():
    assert text.TINY_VOCABULARY.read_text(encoding="utf-8") == text.tiny_vocabulary_text(vocabulary())


@pytest.mark.parametrize("expression", ["", "   ", "word " * 1000, "the ship", "✈ \0 \ufffd", *EXPRESSIONS])
def test_tiny_tokenizer_bears_anything(expression):
    done = text.load_tokenizer(SPEC)(expression)
    assert len(done.ids) == len(done.mask) == 12
    real = [token for token, keep in zip(done.ids, done.mask, strict=True) if keep]
    assert real[0] == 1
    assert real[-1] == 2
    assert set(done.ids[len(real) :]) <= {0}
    assert len(real) == 12 or not done.truncated
    assert done.truncated or len(expression.split()) <= 10


def test_tiny_tokenizer_knows_its_words():
    tokenize = text.load_tokenizer(SPEC)
    words = text.read_vocabulary(text.TINY_VOCABULARY)
    done = tokenize("The LARGEST ship, upper-left of nonsense.")
    assert done.ids[1] == words["the"]
    assert done.ids[2] == words["largest"]
    assert 3 in done.ids
    assert words["[pad]"] == 0


def test_tokenizers_that_cannot_be_had(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        text.load_tokenizer(InputSpec((8, 8), "tyny", 8))
    with pytest.raises(UsageError, match="cannot be loaded"):
        text.load_tokenizer(InputSpec((8, 8), "nowhere.at_all:Class", 8))
    with pytest.raises(UsageError, match="at least 2"):
        text.load_tokenizer(InputSpec((8, 8), "tiny", 1))
    with pytest.raises(MissingResourceError, match="vocabulary"):
        text.load_tokenizer(InputSpec((8, 8), "tiny", 8, tokenizer_path=str(tmp_path / "none.txt")))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the ship on the left", "the ship on the right"),
        ("Left ship, RIGHT ship", "Right ship, LEFT ship"),
        ("the small plane at the top-left corner", "the small plane at the top-right corner"),
        ("the leftmost car on the right-hand side", "the rightmost car on the left-hand side"),
        ("the upperright tank", "the upperleft tank"),
        ("a bright ship of the copyright office, cleft", "a bright ship of the copyright office, cleft"),
        ("the ship right next to the harbor", "the ship right next to the harbor"),
        ("the ship on the right next to the harbor", "the ship on the left next to the harbor"),
        ("Left, left and right.", "Right, right and left."),
        ("", ""),
    ],
)
def test_flip_swaps_whole_words(before, after):
    assert text.flip_text(before) == after


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_flip_of_real_wording_is_its_own_inverse(expression):
    flipped = text.flip_text(expression)
    assert text.flip_text(flipped) == expression
    assert len(flipped.split()) == len(expression.split())


@given(st.text())
def test_flip_and_normalise_never_fail(value):
    assert isinstance(text.flip_text(value), str)
    folded = text.normalise_text(value)
    assert folded == text.normalise_text(folded)
    assert "  " not in folded
