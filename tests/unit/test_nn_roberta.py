"""RoBERTa's tokenizer from a `tokenizer.json`, against the library's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.encoders.roberta import PADDING, RobertaTokenizer
from rrsis_bench.types import InputSpec

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXTS = (
    "the white airplane on the left",
    "  The  LARGE storage-tank, next to\tthe harbour!  ",
    "vehicle's shadow über 北京 \U0001f6a2",
    "",
    "a ship " * 20,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary of byte pairs in RoBERTa's form."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*TEXTS, "the ship on the left of the harbour"] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    file = tmp_path_factory.mktemp("roberta") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def spec(path: Path | None, length: int = 40) -> InputSpec:
    name = "rrsis_bench.nn.encoders.roberta:RobertaTokenizer"
    return InputSpec((64, 64), name, length, tokenizer_path=None if path is None else str(path))


@pytest.mark.parametrize("length", [3, 8, 40])
def test_ids_are_the_library_s(path: Path, length: int) -> None:
    from transformers import PreTrainedTokenizerFast

    library = PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<pad>")
    ours = RobertaTokenizer(spec(path, length))
    for text in TEXTS:
        plain = " ".join(text.lower().split())
        wanted = library(plain, padding="max_length", truncation=True, max_length=length)
        found = ours(text)
        assert list(found.ids) == wanted["input_ids"], text
        assert list(found.mask) == wanted["attention_mask"], text
        assert found.truncated == (len(library(plain)["input_ids"]) > length)
        assert found.ids[0] == 0
        assert library.pad_token_id == PADDING


def test_what_is_no_tokenizer_of_roberta_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set model\.options\.tokenizer_path"):
        RobertaTokenizer(spec(None))
    with pytest.raises(UsageError, match="at least 3"):
        RobertaTokenizer(spec(path, 2))
    with pytest.raises(MissingResourceError):
        RobertaTokenizer(spec(tmp_path / "nothing.json"))
    other = tmp_path / "other.json"
    Tokenizer(models.BPE()).save(str(other))
    with pytest.raises(MissingResourceError, match="it is not RoBERTa's"):
        RobertaTokenizer(spec(other))
