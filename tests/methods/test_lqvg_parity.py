"""LQVG, stage 1 of PSLG-SAM, against stored outputs of the released network, in float64."""

from __future__ import annotations

import ast

import pytest
import torch

from baselines.pslgsam.grounding import LQVG, ResNetRoberta
from baselines.pslgsam.losses import box_losses
from baselines.pslgsam.weights import RELEASED
from helpers.golden import FIXTURES, load_golden
from helpers.lqvg_small import build, fill, official_state, padded_images, stages
from helpers.official import official_keys
from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.weights.files import fit

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

TOLERANCE = 1e-9
POOLER = 768 * 768 + 768
"""Parameters of RoBERTa's pooler, which the released network holds and nothing reads."""
WEIGHTS = {"cls": 2.0, "l1": 5.0, "giou": 2.0}
TERMS = {"cls": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou"}


@pytest.mark.slow
@torch.no_grad()
def test_every_stage_gives_the_released_outputs() -> None:
    golden, metadata = load_golden(FIXTURES / "lqvg_small_seed21.safetensors")
    network = build(metadata).double().eval()
    # The released network has the unused pooler too.
    assert parameters(network) + POOLER == int(metadata["parameters"])
    fill(network, int(metadata["seed"]))
    images, padding = padded_images(list(ast.literal_eval(metadata["sizes"])), int(metadata["seed"]))
    maps, projected = network.front.encode_image(images)
    pairs = stages(maps, found := network(projected, golden["in.ids"], golden["in.mask"].bool(), padding))
    stored = {name for name in golden if not name.startswith(("in.", "loss.", "match."))}
    assert set(pairs) == stored
    for name, value in pairs.items():
        expected = golden[name]
        if name.startswith("mask."):
            assert torch.equal(value, expected), name
        else:
            assert value.shape == expected.shape, name
            assert (value - expected).abs().max() <= TOLERANCE * expected.abs().max(), name

    scores, boxes, truths = found.found.scores, found.found.boxes, golden["in.boxes"][:, 0]
    valid = torch.ones(len(truths), dtype=torch.bool)
    total, matches = box_losses(scores, boxes, truths, valid, WEIGHTS)
    assert torch.equal(matches[0], golden["match.0"])
    assert torch.equal(matches[-1], golden["match.last"])
    for layer, suffix in ((0, "_0"), (1, "")):
        single, _ = box_losses(scores[layer : layer + 1], boxes[layer : layer + 1], truths, valid, WEIGHTS)
        for name, term in single.items():
            expected = golden[f"loss.{TERMS[name]}{suffix}"]
            assert abs(term / WEIGHTS[name] - expected) <= TOLERANCE * expected.abs(), name
    assert abs(sum(total.values()) - golden["loss.total"]) <= TOLERANCE * golden["loss.total"]


def test_published_size_has_the_released_names_and_parameters() -> None:
    with torch.device("meta"):
        front = ResNetRoberta(256, (768, 12, 12, 50_265, 514))
        network = LQVG(front, 256, 8, 4, (4, 4), 2048, 10, 0.1)
    assert parameters(network) + POOLER == 166_376_918
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) + POOLER == 166_154_518
    keys = official_keys("lqvg_r50")
    assert len(keys) == 706
    shapes = {RELEASED.ours(key): one.shape for key, one in keys.items() if not RELEASED.is_dropped(key)}
    assert shapes == {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert {name for name in keys if RELEASED.is_dropped(name)} == {
        *(f"text_encoder.pooler.dense.{leaf}" for leaf in ("weight", "bias")),
        *(name for name in keys if name.startswith("transformer.decoder.bbox_embed.")),
    }


def test_a_strange_or_missing_name_is_refused() -> None:
    _, metadata = load_golden(FIXTURES / "lqvg_small_seed21.safetensors")
    network = build(metadata)
    official = official_state(network)
    with pytest.raises(MissingResourceError, match="cannot place transformers_encoder"):
        RELEASED.convert(official | {"transformers_encoder.weight": torch.ones(1)}, network)
    del official["class_embed.1.bias"]
    with pytest.raises(MissingResourceError, match=r"misses detector\.score\.1\.bias"):
        fit(network, RELEASED.convert(official, network), "its parameters")


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
