"""RSRefSeg 2's prompter against stored outputs, and its dense prompt in both forms."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.rsrefseg2.dense import DensePrompt, cosine_map, cosine_map_naive
from baselines.rsrefseg2.prompter import CascadedPrompter, pool_words
from baselines.rsrefseg2.weights import our_name
from helpers.golden import FIXTURES, load_golden, official_tensor
from helpers.memory import PeakMemory
from helpers.official import official_keys
from helpers.rsrefseg2_names import official_prompter_name

TOLERANCE = 1e-9


def build(options: dict[str, Any]) -> CascadedPrompter:
    return CascadedPrompter(
        options["feature_dim"],
        options["prompt_dim"],
        options["grid"],
        options["text_queries"],
        options["prompts"],
        options["heads"],
        options["inner_dim"],
        options["mlp_dim"],
        options["depth"],
    )


@torch.no_grad()
@pytest.mark.parametrize("low_memory", [True, False])
def test_every_stage_gives_the_released_outputs(low_memory: bool) -> None:
    golden, metadata = load_golden(FIXTURES / "rsrefseg2_prompter_small_seed3.safetensors")
    options, seed = metadata["options"], int(metadata["seed"])
    prompter = build(options).double().eval()
    assert sum(p.numel() for p in prompter.parameters()) == int(metadata["parameters"])
    state: dict[str, Tensor] = {}
    for name, value in prompter.state_dict().items():
        official = f"prompter.{official_prompter_name(name)}"
        fixed = name.endswith("num_batches_tracked")
        state[name] = torch.tensor(0) if fixed else official_tensor(official, tuple(value.shape), seed).double()
    prompter.load_state_dict(state)
    grid = (options["grid"], options["grid"])
    found = prompter(golden["in.image"].double(), golden["in.words"].double(), grid)
    refined = found.refined.transpose(1, 2).unflatten(-1, grid)
    scale, bias = (torch.tensor([options[key]], dtype=torch.float64) for key in ("log_scale", "bias"))
    size = (options["mask_size"], options["mask_size"])
    dense = prompter.dense(refined, golden["in.sentence"].double(), scale, bias, size, low_memory)
    pairs = {
        "Q1": found.first,
        "Q2": found.second,
        "image_after_B": found.activated,
        "image_after_C": found.refined,
        "prompts": found.tokens,
        "sparse": found.sparse,
        "dense": dense,
    }
    assert set(pairs) == {name for name in golden if not name.startswith("in.")}
    for name, value in pairs.items():
        assert (value - golden[name]).abs().max() <= TOLERANCE, name


def test_published_size_has_the_released_names() -> None:
    with torch.device("meta"):
        prompter = CascadedPrompter(1152, 256, 32)
    assert sum(p.numel() for p in prompter.parameters()) == 82_773_312
    parts = {"split": 37_840_384, "activate": 11_824_384, "read": 19_707_648, "dense": 11_946_816, "sparse": 262_912}
    for part, size in parts.items():
        assert sum(p.numel() for p in getattr(prompter, part).parameters()) == size
    shapes = {f"prompter.{official_prompter_name(name)}": tuple(v.shape) for name, v in prompter.state_dict().items()}
    assert len(shapes) == len(prompter.state_dict())
    assert {our_name(name) for name in shapes} == {f"prompter.{name}" for name in prompter.state_dict()}
    assert shapes == {name: key.shape for name, key in official_keys("rsrefseg2_prompter").items()}


@pytest.mark.slow
@torch.no_grad()
def test_low_memory_form_equals_the_naive_one() -> None:
    """In float32, of the published sizes."""
    draw = torch.Generator().manual_seed(0)
    features, sentence = torch.randn(1, 1152, 32, 32, generator=draw), torch.randn(1, 1152, generator=draw)
    gap = cosine_map(features, sentence, (256, 256)) - cosine_map_naive(features, sentence, (256, 256))
    assert gap.abs().max() <= 1e-5


def test_gradients_of_both_forms_are_the_same() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 48, 32, 32, generator=draw).requires_grad_()
    sentence = torch.randn(2, 48, generator=draw).requires_grad_()
    target = torch.randn(2, 1, 256, 256, generator=draw)
    gradients = []
    for form in (cosine_map, cosine_map_naive):
        gradients.append(
            torch.autograd.grad((form(features, sentence, (256, 256)) * target).sum(), (features, sentence))
        )
    for ours, naive in zip(*gradients, strict=True):
        assert (ours - naive).abs().max() <= 1e-5 * naive.abs().max()


@pytest.mark.parametrize(("grid", "size"), [((4, 4), (16, 16)), ((3, 5), (7, 20)), ((1, 4), (4, 16)), ((8, 8), (8, 8))])
def test_forms_agree_on_any_grid(grid: tuple[int, int], size: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(2, 6, *grid, generator=draw, dtype=torch.float64)
    sentence = torch.randn(2, 6, generator=draw, dtype=torch.float64)
    assert (cosine_map(features, sentence, size) - cosine_map_naive(features, sentence, size)).abs().max() <= 1e-12


@pytest.mark.slow
def test_low_memory_form_needs_a_fifth_of_the_memory() -> None:
    """Forward and backward, 32x32 to 256x256, of a quarter of the published width to keep the naive form affordable."""
    peaks = {}
    for form in (cosine_map, cosine_map_naive):
        features, sentence = torch.randn(1, 288, 32, 32, requires_grad=True), torch.randn(1, 288)
        with PeakMemory() as memory:
            form(features, sentence, (256, 256)).square().sum().backward()
        peaks[form] = memory.peak
    assert 5 * peaks[cosine_map] <= peaks[cosine_map_naive]


def test_dense_prompt_is_scale_times_cosine_plus_bias() -> None:
    branch = DensePrompt(8).eval()
    refined, sentence = torch.randn(2, 8, 4, 4), torch.randn(2, 8)
    prompt = branch(refined, sentence, torch.tensor([2.0]).log(), torch.tensor([-3.0]), (16, 16))
    assert prompt.shape == (2, 1, 16, 16)
    corner = F.cosine_similarity(branch.conv(refined)[:, :, 0, 0], sentence)
    torch.testing.assert_close(prompt[:, 0, 0, 0], 2 * corner - 3)


def test_pooling_is_adaptive_average_over_real_words() -> None:
    words = torch.randn(3, 9, 5)
    mask = torch.arange(9)[None] < torch.tensor([[9], [4], [1]])
    pooled = pool_words(words, mask, 3)
    for k, length in enumerate((9, 4, 1)):
        expected = F.adaptive_avg_pool1d(words[k, :length].T, 3).T
        torch.testing.assert_close(pooled[k], expected)
    torch.testing.assert_close(pool_words(words, None, 3), F.adaptive_avg_pool1d(words.transpose(1, 2), 3).mT)


def test_places_of_another_grid_are_interpolated() -> None:
    prompter = CascadedPrompter(8, 8, 4, heads=2, inner=8, hidden=8, depth=1)
    own = prompter.positions((4, 4))
    assert torch.equal(own, prompter.image_position[0].flatten(1).T)
    assert prompter.positions((6, 2)).shape == (12, 8)


def test_positions_are_on_queries_and_keys_alone() -> None:
    """With one key its value is all that attention can give, so the positions of queries and keys do not matter."""
    attend = CascadedPrompter(8, 8, 2, heads=2, inner=8, hidden=8, depth=1).activate[0].image
    x, key = torch.randn(1, 4, 8), torch.randn(1, 1, 8)
    plain = attend(x, torch.zeros(4, 8), key, torch.zeros(1, 8))
    torch.testing.assert_close(attend(x, torch.randn(4, 8), key, torch.randn(1, 8)), plain)


def test_every_released_step_has_a_name() -> None:
    assert our_name("prompter.two_queries_text_attn_layers.0.norm_query1_9.weight") is None
    assert our_name("prompter.other_layers.0.norm_query1_1.weight") is None
    assert re.fullmatch(
        r"prompter\.read\.1\.image_feed\.norm\.bias",
        our_name("prompter.prompt_queries2_img_attn_layers.1.norm_prompt_5.bias") or "",
    )
