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


@given(st.text())
def test_normalise_never_fails(value):
    folded = text.normalise_text(value)
    assert folded == text.normalise_text(folded)
    assert "  " not in folded
