"""CLIP's text encoder and tokenizer."""

from __future__ import annotations

import pytest
import torch
from open_clip import tokenize
from torch import nn

from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.errors import UsageError
from rrsis_bench.nn.encoders.clip import AdaptedClipText, ClipTokenizer, build_clip_text, encode_plain, text_part
from rrsis_bench.types import InputSpec


def spec(length: int) -> InputSpec:
    return InputSpec((448, 448), "clip", length)


@pytest.mark.parametrize("text", ["the white airplane on the left", "", "a baseball-field,  next to  Ōsaka's dam"])
def test_ids_are_open_clips(text: str) -> None:
    tokens = ClipTokenizer(spec(22))(text)
    assert tokens.ids == tokenize([text], context_length=22)[0].tolist()
    assert sum(tokens.mask) == tokens.ids.index(49_407) + 1
    assert not tokens.truncated


def test_a_long_text_keeps_its_end_token() -> None:
    tokens = load_tokenizer(spec(22))("ship " * 1000)
    assert len(tokens.ids) == len(tokens.mask) == sum(tokens.mask) == 22
    assert tokens.ids[0] == 49_406
    assert tokens.ids[-1] == 49_407
    assert tokens.truncated


@pytest.mark.parametrize("length", [1, 78])
def test_lengths_clip_cannot_take_are_refused(length: int) -> None:
    with pytest.raises(UsageError, match="2 to 77"):
        ClipTokenizer(spec(length))


@torch.no_grad()
def test_the_sentence_is_read_at_the_last_real_token() -> None:
    torch.manual_seed(0)
    trunk = build_clip_text(32, 2, 2, vocabulary=50, context=12, output=16).eval()
    # 49, the highest id, ends both: the rule is then CLIP's own, the position of the highest id.
    ids = torch.tensor([[1, 7, 9, 49, 0, 0, 0, 0, 0, 0, 0, 0], [1, 5, 49, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    words, sentence, states = AdaptedClipText(trunk, {})(ids, ids > 0)
    assert states == []
    assert (sentence - trunk(ids)).abs().max() == 0
    # A lower id at the end (the tiny tokenizer's) is found just as well.
    lower = torch.where(ids == 49, 2, ids)
    _, other, _ = AdaptedClipText(trunk, {})(lower, lower > 0)
    assert not torch.allclose(other, sentence)
    again, read = encode_plain(trunk, lower[:, :5], lower[:, :5] > 0)
    assert torch.allclose(read, other, atol=1e-6)
    assert torch.allclose(words[:, 0], again[:, 0], atol=1e-6)


def test_text_part_keeps_the_text_encoder_only() -> None:
    trunk = build_clip_text(32, 1, 2, vocabulary=50, context=12, output=16)
    mixed = {**trunk.state_dict(), "visual.proj": torch.zeros(1), "logit_scale": torch.zeros(1)}
    assert set(text_part(mixed)) == set(trunk.state_dict())
    nested = {f"text.{name}": value for name, value in trunk.state_dict().items()}
    assert set(text_part(nested)) == set(trunk.state_dict())


def test_the_frozen_trunk_never_trains() -> None:
    encoder = AdaptedClipText(build_clip_text(32, 2, 2, vocabulary=50, context=12, output=16), {1: nn.Identity()})
    encoder.train()
    assert not encoder.trunk.training
    assert encoder.adapters.training
    assert not any(parameter.requires_grad for parameter in encoder.trunk.parameters())
