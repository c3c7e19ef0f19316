"""The two directions of BSC and the two streams of the BTDNet-style reconstruction, against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.btdnet import BTDNet
from baselines.btdnet.bsc import START, BSCStage
from helpers.btdnet_small import batch_for, plain, small
from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures
from rrsis_bench.types import Batch

# --- BSC --------------------------------------------------------------------------------------------------------------


def naive_stage(stage: BSCStage, features: Tensor, words: TextFeatures) -> tuple[Tensor, Tensor, Tensor]:
    """Section by section, sample by sample, head by head, pixel by pixel of the dilated convolutions."""
    flowing, maps, texts = [], [], []
    assert stage.gate is not None
    assert stage.update is not None
    update = stage.update
    for one, states, mask in zip(features, words.states, words.mask, strict=True):
        value = stage.norm(one).permute(2, 0, 1)[None]
        around = torch.zeros_like(value)
        for conv in stage.context.around:
            around += F.conv2d(value, conv.weight, conv.bias, 1, conv.padding, conv.dilation, value.shape[1])
        spatial = value + F.gelu(
            F.conv2d(around, stage.context.point.weight[..., None, None], stage.context.point.bias)
        )  # type: ignore[union-attr]
        pixels = spatial[0].flatten(1).T
        query, x = F.instance_norm(stage.query(pixels).T[None])[0].T, stage.visual(pixels)
        key, y = stage.key(states), stage.value(states)
        width = x.shape[1] // stage.heads
        read_words, read_pixels = [], []
        for head in range(stage.heads):
            part = slice(head * width, (head + 1) * width)
            scores = query[:, part] @ key[:, part].T / width**0.5
            read_words.append((scores + torch.where(mask, 0.0, -1e4)).softmax(1) @ y[:, part])
            read_pixels.append(scores.softmax(0).T @ x[:, part])
        fused = F.gelu(stage.mix(x * F.instance_norm(stage.output(torch.cat(read_words, 1)).T[None])[0].T))
        gate = torch.tanh(torch.relu(fused @ stage.gate.inner.weight.T) @ stage.gate.outer.weight.T)
        flowing.append(one + (gate * fused).view_as(one))
        maps.append(fused.T.view(-1, *one.shape[:2]))
        step = update.gain * update.project(torch.cat(read_pixels, 1)) * mask[:, None]
        first = update.norm1(states + step)
        texts.append(update.norm2(first + update.feed(first)))
    return torch.stack(flowing), torch.stack(maps), torch.stack(texts)


@torch.no_grad()
def test_bsc_is_its_formulas() -> None:
    stage = small().double().stages[1]
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(2, 6, 5, 32, generator=draw).double()
    words = TextFeatures(
        torch.randn(2, 7, 16, generator=draw).double(), torch.arange(7)[None] < torch.tensor([[4], [7]])
    )
    flowing, fused, texts = stage(features, {CONTEXT: words, START: words})
    wanted = naive_stage(stage, features, words)  # type: ignore[arg-type]
    for found, expected in zip((flowing, fused, texts[CONTEXT].states), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert torch.equal(texts[START].states, words.states)


@torch.no_grad()
@pytest.mark.parametrize("update", ["pass", "reset", "none"])
def test_which_words_a_stage_reads(update: str) -> None:
    method = small(text_update=update)
    built = [stage.update is not None for stage in method.stages]
    assert built == {"pass": [True] * 4, "reset": [False] * 3 + [True], "none": [False] * 4}[update]
    assert [stage.reset for stage in method.stages] == [update == "reset"] * 4
    batch = batch_for(method)
    found = method.eval().features(batch.images, batch.tokens.ids, batch.tokens.mask)
    same = torch.equal(found.texts[CONTEXT].states, found.texts[START].states)
    assert same == (update == "none")


@torch.no_grad()
def test_at_the_start_the_encoder_is_undisturbed() -> None:
    for place, disturbed in (("inside", small()), ("after", small(bsc_place="after"))):
        method = plain(bsc_place=place).eval()
        batch = batch_for(method)
        wanted = method.encoder(batch.images)
        assert all(torch.equal(*pair) for pair in zip(flow(method, batch), wanted, strict=True))
        pairs = zip(flow(disturbed, batch), disturbed.encoder(batch.images), strict=True)
        assert all(torch.equal(*pair) for pair in pairs) == (place == "after")


def flow(method: BTDNet, batch: Batch) -> list[Tensor]:
    """What flows on behind each stage."""
    texts, flowing, seen = method.encode_texts(batch.tokens), method.encoder.stem(batch.images), []
    for index, stage in enumerate(method.stages):
        flowing = method.encoder.downsample(index - 1, flowing) if index else flowing
        flowing, _, texts = stage(method.encoder.stage(index, flowing), texts)
        seen.append(flowing)
    return seen


@torch.no_grad()
def test_ids_under_padding_change_nothing() -> None:
    method = small().eval()
    batch = batch_for(method)
    tokens = batch.tokens
    other = torch.where(tokens.mask, tokens.ids, torch.randint(4, 60, tokens.ids.shape))
    assert not torch.equal(other, tokens.ids)
    here, there = (method.features(batch.images, ids, tokens.mask).classes for ids in (tokens.ids, other))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-6)


# --- T-BTD ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_streams_start_apart_and_then_exchange() -> None:
    torch.manual_seed(0)
    start, apart = plain().decoder.eval(), plain(exchange="none").decoder.eval()
    apart.load_state_dict({k: v for k, v in start.state_dict().items() if not k.startswith("exchanges")})
    maps, sentence = [torch.randn(2, 16, side, side) for side in (16, 8, 4, 2)], torch.randn(2, 16)
    assert torch.equal(start(maps, sentence).classes, apart(maps, sentence).classes)

    late = plain(exchange="last").decoder
    assert list(late.exchanges) == ["3"]
    assert list(start.exchanges) == ["0", "1", "2", "3"]
    mixed = small().decoder.eval().double()
    maps = [one.double() for one in maps]
    found = mixed(maps, sentence.double())
    background, target = mixed.streams
    b, t = (stream.coarsest(maps[-1], sentence.double()) for stream in (background, target))
    for index in range(4):
        if index:
            b, t = (
                stream.finer(index, own, maps[3 - index], sentence.double())
                for stream, own in ((background, b), (target, t))
            )
        to_b, to_t = mixed.exchanges[str(index)]
        lead = {"b": b - t, "t": t - b}
        b, t = (
            torch.relu(own + e.bn(e.point(e.depth(lead[name])))) for name, own, e in (("b", b, to_b), ("t", t, to_t))
        )
    torch.testing.assert_close(found.classes, torch.cat([background.head(b), target.head(t)], 1))
    assert torch.equal(found.streams[1], t)


@torch.no_grad()
def test_the_sentence_is_the_mean_of_the_real_tokens_and_reaches_both_streams() -> None:
    method = small().eval()
    batch = batch_for(method)
    found = method.features(batch.images, batch.tokens.ids, batch.tokens.mask)
    words = found.texts[CONTEXT]
    kept = [states[mask].mean(0) for states, mask in zip(words.states, words.mask, strict=True)]
    decoded = method.decoder(found.maps, torch.stack(kept)).classes
    torch.testing.assert_close(decoded, found.classes)
    for text, changed in ((True, [True, True]), (False, [False, True])):
        decoder = small(background_text=text, exchange="none").decoder.eval()
        here, there = (decoder(found.maps, torch.stack(kept) * k).classes for k in (1, 2))
        assert [not torch.equal(here[:, i], there[:, i]) for i in (0, 1)] == changed
