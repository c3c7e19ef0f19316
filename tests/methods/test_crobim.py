"""CroBIM-style network: sizes, start, what the passes see, gradients, padding, options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.crobim import CroBIM
from helpers.crobim_small import SMALL, batch_of, small
from helpers.gradients import without_gradient
from helpers.kernels import kernels
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import UsageError
from rrsis_bench.types import Batch, TextTokens


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("variant", ["base", "convnext-b"])
def test_published_sizes_have_the_figures_of_the_reconstruction(variant: str) -> None:
    with torch.device("meta"):
        method = CroBIM.from_options(variant_options("crobim", variant))
    sides = (method.mid.text_side, method.mid.image_side)
    assert method.capm is not None
    figures = {
        8.74: count(method.capm),
        4.51: count(method.lgfa.layers),
        7.37: sum(count(side) for side in sides),
        13.49: count(method.lgfa) + count(method.mid),
        219.0: count(method),
    }
    for millions, counted in figures.items():
        assert counted == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.slow
def test_logits_of_the_published_size_have_a_quarter_of_the_inputs_resolution() -> None:
    batch = batch_of((22,), 22, (480, 480)).to("meta")
    with torch.device("meta"):
        method = CroBIM.from_options({"max_tokens": 22}).eval()
    maps = method.encode_image(batch.images)
    assert [tuple(one.shape[1:]) for one in maps] == [
        (128, 120, 120),
        (256, 60, 60),
        (512, 30, 30),
        (1024, 15, 15),
    ]
    reading = method.encode_text(batch.tokens, maps)
    assert reading.words.shape == (1, 22, 768)
    assert reading.prompted.shape == (1, 26, 768)
    features = method.lgfa(maps, reading.words, reading.mask)
    assert features.shape == (1, 256, 120, 120)
    assert method.mid(features, reading.prompted, reading.prompted_mask).shape == (1, 1, 120, 120)


VARIATIONS: list[dict[str, Any]] = [
    {},
    {"prompts": 0},
    {"prompts": 8, "prompt_place": "before-sep"},
    {"prompts": 16, "prompt_source": "constant"},
    {"capm_pooling": "tokens"},
    {"fusion": "levels", "compensation": "level-weight"},
    {"compensation": "none"},
    {"given_back": "after-fusion", "mid_self": False, "zero_init": False},
    {"mid_layers": 1, "mid_stride": 8},
    {"mid_order": "text-first"},
    {"mid_direction": "language-to-vision", "pooling": "cls"},
    {"mid_direction": "vision-to-language", "pooling": "prompts"},
    {"pooling": "maps", "loss": "bce"},
    {"loss": "two-class"},
]


@pytest.mark.parametrize("changes", VARIATIONS, ids=lambda changes: "-".join(map(str, changes.values())) or "default")
def test_every_option_runs_trains_all_its_parameters_and_ignores_padding(changes: dict[str, Any]) -> None:
    method = small(**changes).train()
    batch = batch_of()
    output = method(batch)
    stride = changes.get("mid_stride", 4)
    assert output.logits.shape == (3, 1, 64 // stride, 64 // stride)
    torch.stack(list(method.loss(output, batch).values())).sum().backward()
    # Token ids that do not occur have no gradient in their rows; each tensor has some.
    assert without_gradient(method, ["mid.vector.score.bias"]) == []
    method.eval()
    with torch.no_grad():
        expected = method(batch).logits
        tokens = batch.tokens
        other = TextTokens(torch.where(tokens.mask, tokens.ids, 41), tokens.mask)
        assert torch.equal(method(replace(batch, tokens=other)).logits, expected)
        shorter = TextTokens(tokens.ids[:, :9], tokens.mask[:, :9])
        assert torch.allclose(method(replace(batch, tokens=shorter)).logits, expected, atol=1e-5)


@torch.no_grad()
def test_padding_has_no_influence_on_any_part() -> None:
    method = small()
    batch = batch_of()
    tokens = batch.tokens
    other = TextTokens(torch.where(tokens.mask, tokens.ids, 41), tokens.mask)
    maps = method.encode_image(batch.images)
    first, second = method.encode_text(tokens, maps), method.encode_text(other, maps)
    assert not torch.equal(first.words, second.words)  # padding itself has other states
    assert torch.equal(first.words[first.mask], second.words[second.mask])
    assert torch.equal(first.prompted[first.prompted_mask], second.prompted[second.prompted_mask])
    features = method.lgfa(maps, first.words, first.mask)
    noise = torch.where(first.mask[..., None], first.words, 7.0)
    assert torch.equal(method.lgfa(maps, noise, first.mask), features)
    text, pixels = method.mid.align(features, first.prompted, first.prompted_mask)
    noise = torch.where(first.prompted_mask[..., None], first.prompted, 7.0)
    text_noise, pixels_noise = method.mid.align(features, noise, first.prompted_mask)
    assert torch.equal(pixels, pixels_noise)
    assert torch.equal(text[first.prompted_mask], text_noise[first.prompted_mask])
    vector = method.mid.vector(text, first.prompted_mask)
    assert torch.equal(method.mid.vector(text_noise, first.prompted_mask), vector)


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch() -> None:
    method = small()
    batch = batch_of()
    together = method(batch).logits
    for k in range(3):
        tokens = TextTokens(batch.tokens.ids[k : k + 1], batch.tokens.mask[k : k + 1])
        alone = method(replace(batch, images=batch.images[k : k + 1], tokens=tokens)).logits
        assert torch.allclose(alone, together[k : k + 1], atol=1e-5)


@torch.no_grad()
def test_at_the_start_prompts_do_not_know_the_image_and_nothing_is_compensated() -> None:
    method = small(wake=0.0)
    batch = batch_of()
    first, second = (
        method.encode_text(batch.tokens, method.encode_image(images)) for images in (batch.images, -batch.images)
    )
    assert torch.equal(first.prompted, second.prompted)
    logits = method(batch).logits
    for layer in method.lgfa.layers:
        layer.deficit = None
    assert torch.equal(method(batch).logits, logits)
    method = small(wake=0.0, zero_init=False)
    first, second = (
        method.encode_text(batch.tokens, method.encode_image(images)) for images in (batch.images, -batch.images)
    )
    assert not torch.equal(first.prompted, second.prompted)


def test_attention_is_fused_and_nothing_loops_over_samples() -> None:
    method = small()
    names = kernels(method, batch_of())
    fused = sum(calls for name, calls in names.items() if name.startswith("_scaled_dot_product"))
    # 4 windows, 2 layers of text twice, prompts, 2 of LGFA, 2 times 3 of MID.
    assert fused == 4 + 2 * 2 + 1 + 2 + 2 * 3
    assert names["_softmax"] == 2 + 1  # sampling weights of 2 layers, pooling
    assert sum(kernels(method, batch_of((5, 9, 3) * 2)).values()) == sum(names.values())


@torch.no_grad()
def test_the_words_move_the_mask() -> None:
    method = small()
    batch = batch_of((6, 6, 6))
    turned = TextTokens(batch.tokens.ids.roll(1, 0), batch.tokens.mask)
    change = (method(batch).logits - method(replace(batch, tokens=turned)).logits).abs().amax((1, 2, 3))
    assert (change > 1e-3).all()


@pytest.mark.parametrize("size", [(64, 96), (72, 104)])
@torch.no_grad()
def test_images_need_be_neither_square_nor_of_whole_windows(size: tuple[int, int]) -> None:
    logits = small()(batch_of(size=size)).logits
    assert logits.shape == (3, 1, size[0] // 4, size[1] // 4)
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_pooling_of_maps_is_a_map_per_token_and_a_convolution_over_them() -> None:
    method = small(pooling="maps")
    mid = method.mid
    batch = batch_of((12, 9, 12))
    maps = method.encode_image(batch.images)
    reading = method.encode_text(batch.tokens, maps)
    features = method.lgfa(maps, reading.words, reading.mask)
    text, pixels = mid.align(features, reading.prompted, reading.prompted_mask)
    both = features + pixels.transpose(1, 2).reshape(features.shape)
    stack = torch.einsum("bnd,bdhw->bnhw", mid.vector.mlp(text), both) / 4  # root of the width
    stack = stack * reading.prompted_mask[..., None, None]
    expected = F.conv2d(stack, mid.vector.place[None, :, None, None]) + mid.bias
    assert torch.allclose(mid(features, reading.prompted, reading.prompted_mask), expected, atol=1e-5)


def test_optimiser_groups_have_three_rates_and_spare_vectors_and_tables() -> None:
    method = CroBIM.from_options(SMALL)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    groups = method.param_groups(1e-3, 0.01)
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert set(found) == set(names.values())
    expected = {
        "encoder.layers.0.blocks.0.mlp.fc1.weight": (1e-3, 0.01),
        "encoder.layers.0.blocks.0.attn.relative_position_bias_table": (1e-3, 0.0),
        "text.embeddings.word_embeddings.weight": (1e-3, 0.0),
        "text.encoder.layer.0.output.dense.weight": (1e-3, 0.01),
        "capm.prompts": (3e-3, 0.0),
        "capm.pyramid.project.0.weight": (3e-3, 0.01),
        "lgfa.level": (3e-3, 0.0),
        "lgfa.layers.0.fusion.weights.weight": (3e-3, 0.01),
        "lgfa.layers.0.fusion.offsets.weight": (9e-4, 0.01),
        "lgfa.layers.0.fusion.offsets.bias": (9e-4, 0.0),
        "mid.text_side.1.attention.q_proj.weight": (3e-3, 0.01),
        "mid.bias": (3e-3, 0.0),
    }
    for name, (rate, decay) in expected.items():
        assert found[name] == (pytest.approx(rate), decay), name
    method = CroBIM.from_options({**SMALL, "decay_all": True})
    assert {group["weight_decay"] for group in method.param_groups(1e-3, 0.01)} == {0.01}


def test_the_lineages_text_layers_stay_frozen_at_the_published_size() -> None:
    with torch.device("meta"):
        method = CroBIM.from_options({})
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[3] for name in frozen if name.startswith("text.encoder")} == {"10", "11"}
    assert all(name.startswith(("text.embeddings.", "text.encoder.layer.1")) for name in frozen)


@pytest.mark.parametrize(("dataset", "words", "rate", "epochs"), [("rrsisd", 22, 3e-5, 40), ("refsegrs", 20, 5e-5, 60)])
def test_recipes(dataset: str, words: int, rate: float, epochs: int) -> None:
    merged = configured("crobim", dataset)
    assert merged["model"]["optimizer"] == {"name": "adamw", "lr": rate, "weight_decay": 0.01}
    assert merged["model"]["options"].get("max_tokens", 20) == words
    assert merged["trainer"]["max_epochs"] == epochs
    assert merged["trainer"]["gradient_clip_val"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compensation": "mas"}, "'compensation' must be one of mass, level-weight, none, not 'mas'"),
        ({"mid_layers": 0}, "'mid_layers' is at least 1"),
        ({"mid_stride": 16}, "'mid_stride' must be one of 4, 8, not 16"),
        ({"width": 20, "heads": 8}, "width 20 must be a multiple of 4 and of heads"),
        ({"capm_heads": 5}, "text_width 16 is no multiple of capm_heads 5"),
        ({"prompts": 30}, "12 words and 30 prompts do not fit text_positions 40"),
        ({"prompts": 0, "pooling": "prompts"}, "pooling=prompts needs prompts"),
        ({"encoder": "resnet"}, "crobim: option 'encoder' must be one of swin"),
        ({"promts": 8}, "Did you mean 'prompts'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CroBIM.from_options({**SMALL, **options})


def overlap(method: CroBIM, batch: Batch) -> Tensor:
    """oIoU on the batch at input size."""
    method.eval()
    with torch.no_grad():
        found = F.interpolate(method(batch).logits, batch.masks.shape[-2:], mode="bilinear")[:, 0] > 0
    truth = batch.masks.bool()
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.training
def test_sixteen_samples_can_be_learned_by_heart() -> None:
    """Rectangles of noise images; four samples share an image, so the words decide."""
    draw = torch.Generator().manual_seed(1)
    batch = batch_of((6,) * 16)
    masks = torch.zeros(16, 64, 64, dtype=torch.uint8)
    for k in range(16):
        top, left = (int(torch.randint(0, 9, (), generator=draw)) * 4 for _ in range(2))
        masks[k, top : top + 24, left : left + 28] = 1
    batch = replace(batch, images=batch.images[:4].repeat_interleave(4, 0), masks=masks)
    torch.manual_seed(0)
    method = CroBIM.from_options({**SMALL, "width": 32, "head_rate": 1.0})
    optimizer = torch.optim.AdamW(method.param_groups(2e-3, 0.0))
    for _ in range(160):
        method.train()
        optimizer.zero_grad()
        torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
    assert overlap(method, batch) > 0.95
