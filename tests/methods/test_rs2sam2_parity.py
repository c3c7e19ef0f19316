"""RS2-SAM2 against the stored outputs of the released network: every stage, in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.rs2sam2.losses import boundary, two_class_dice, weighted_cross_entropy
from helpers.golden import FIXTURES, assert_stored, load_golden
from helpers.rs2sam2_small import filled, fixture_images, stages
from rrsis_bench.nn.encoders.sam import ImageFeatures
from rrsis_bench.nn.layers.losses import upsample

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


@pytest.fixture(scope="module")
def golden():
    return load_golden(FIXTURES / "rs2sam2_small_seed21.safetensors")


@pytest.fixture(scope="module")
def network(golden):
    metadata = golden[1]
    return filled(metadata["options"], "rs2sam2_small_seed21", int(metadata["seed"]))


@pytest.fixture(scope="module")
def inputs(golden):
    stored, metadata = golden
    options = metadata["options"]
    images, small = fixture_images(metadata)
    real = torch.arange(options["tokens"])[None] < torch.tensor(options["lengths"])[:, None]
    return images, small, stored["in.ids"], real


@pytest.fixture(scope="module")
@torch.no_grad()
def as_released(network, inputs):
    return stages(network, *inputs, masked=False)


@torch.no_grad()
def test_every_stage_gives_the_released_outputs(golden, as_released) -> None:
    """The padded batch as released: adapters and decoder read the padding of sample 0."""
    stored = golden[0]
    seen = set()
    for name, found in as_released.items():
        if name == "text_last":
            continue
        if name.startswith(("block.", "fpn.")) and not name.endswith(".text"):
            found = found[:, ::2, ::2, ::2]
        assert_stored(name, found, stored[name])
        seen.add(name)
    other = {"in.ids", "mask.stride3", "prediction", "target", "iou", "object_score"}
    assert {name for name in stored if not name.startswith(("loss.", "alone."))} == seen | other


@torch.no_grad()
def test_predicted_iou_and_object_score_are_the_released_ones(golden, network, as_released) -> None:
    decoder = network.sam.mask_decoder
    fine = (decoder.conv_s0(as_released["fpn.0"]), decoder.conv_s1(as_released["fpn.1"]))
    main = as_released["decoder.fused"].unflatten(2, as_released["fpn.2"].shape[-2:])
    _, iou, score = network.decode(ImageFeatures(main, fine), as_released["sparse"], as_released["dense"])
    assert_stored("iou", iou, golden[0]["iou"])
    assert_stored("object_score", score, golden[0]["object_score"])


@torch.no_grad()
def test_mask_prediction_and_losses_are_the_released_ones(golden, as_released) -> None:
    stored, metadata = golden
    size = (metadata["options"]["image"],) * 2
    m = upsample(as_released["low_res_masks"], size)
    assert_stored("mask", m[:, :, ::3, ::3], stored["mask.stride3"])
    assert torch.equal((2 * m - 1 > 0)[:, 0], stored["prediction"].bool())
    target = stored["target"][:, None].double()
    parts = {
        "loss.ce": weighted_cross_entropy(2 * m - 1, target),
        "loss.dice": two_class_dice(2 * m - 1, target),
        "loss.boundary": boundary(m, target, as_released["boundary_weight"]),
    }
    for name, found in parts.items():
        assert_stored(name, found, stored[name])
    ce, dice, edge = parts.values()
    assert_stored("loss.total", 0.9 * ce + 0.1 * dice + 0.2 * edge, stored["loss.total"])


@torch.no_grad()
def test_masked_words_give_each_sample_what_it_gives_alone(golden, network, inputs) -> None:
    stored = golden[0]
    found = stages(network, *inputs, masked=True)
    length = int(inputs[3][0].sum())
    patches = found["beit3"].shape[1] - inputs[2].shape[1]
    assert_stored("beit3", found["beit3"][:1, : patches + length], stored["alone.0.beit3"])
    assert_stored("text_last", found["text_last"][:1, :length], stored["alone.0.text_last"])
    for name in ("decoder.fused", "low_res_masks"):
        assert_stored(name, found[name][:1], stored[f"alone.0.{name}"])


@pytest.mark.parity
@torch.no_grad()
def test_published_network_gives_the_released_outputs() -> None:
    path = SHARED / "rs2sam2_full_seed23.safetensors"
    if not path.is_file():
        pytest.skip(f"the full-size fixture {path.name} is not on this machine")
    stored, metadata = load_golden(path)
    options, seed = metadata["options"], int(metadata["seed"])
    method = filled(options, "rs2sam2_large", seed)
    images, small = fixture_images(metadata)
    found = stages(method, images, small, stored["in.ids"], torch.ones(1, options["tokens"], dtype=torch.bool), True)
    seen = {"in.ids"}
    for name in stored:
        if name == "in.ids":
            continue
        whole = found[name.removesuffix(".stride4")]
        if name.endswith(".stride4"):
            whole = whole[:, ::4, ::4] if name.startswith("beit3") else whole[:, ::4, ::4, ::4]
        assert_stored(name, whole, stored[name])
        seen.add(name)
    assert seen == set(stored)
