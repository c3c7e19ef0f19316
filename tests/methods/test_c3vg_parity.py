"""C3VG against the stored outputs of the released network: every stage and every loss, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.batches import noise_batch
from helpers.c3vg_small import filled, released_shapes, stages
from helpers.golden import FIXTURES, assert_stored, float64_draws, golden_image, load_golden
from rrsis_bench.nn.layers.boxes import boxes_of_masks

pytestmark = pytest.mark.slow  # `make test` runs them; the inner loop does without

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


def image_of(metadata: dict[str, Any], batch: int) -> Tensor:
    with float64_draws():
        image = golden_image(batch, metadata["options"]["image"], int(metadata["seed"]))
    assert abs(float(image.sum()) - float(metadata["image_sum"])) < 1e-6
    return image


@torch.no_grad()
def test_every_stage_and_loss_is_the_released_one() -> None:
    stored, metadata = load_golden(FIXTURES / "c3vg_small_seed11.safetensors")
    options = metadata["options"]
    with float64_draws():
        method = filled(options, "c3vg_small_seed11", int(metadata["seed"]))
    images, real = image_of(metadata, options["batch"]), stored["in.padding"] == 0
    found = stages(method, images, stored["in.ids"], real)
    batch = noise_batch(stored["in.ids"], real, options["image"], torch.Generator())
    batch = replace(batch, images=images, masks=stored["target.masks"])
    output = method(batch)
    found["out.mask"] = output.logits
    size = (options["image"],) * 2
    found["out.mask_first"] = torch.nn.functional.interpolate(
        output.aux["first_mask"], size, mode="bilinear", align_corners=True
    )
    corners, valid = boxes_of_masks(batch.masks, dtype=torch.float64)
    assert valid.all()
    found["target.boxes"] = corners * options["image"]
    losses = method.loss(output, batch)
    names = {"mask": "mask", "bbox": "box", "cons": "consistency"}
    for theirs, ours in names.items():
        for stage in ("first", "second"):
            found[f"loss.{theirs}_{stage}"] = losses[f"{ours}_{stage}"]
        total = losses[f"{ours}_first"] + losses[f"{ours}_second"]
        found[f"loss.{'det' if theirs == 'bbox' else theirs}"] = total
    for name, expected in stored.items():
        if name in ("in.ids", "in.padding", "target.masks"):
            continue
        whole, _, cut = name.partition(".stride") if ".stride" in name else name.partition(".ch")
        values = found[whole]
        if cut:
            values = values[:, :, ::3, ::3] if ".stride" in name else values[:, :: int(cut)]
        assert_stored(name, values.reshape(1) if name.startswith("loss.") else values, expected)
    assert len(stored) == 32


@pytest.mark.parity
@torch.no_grad()
def test_published_network_gives_the_released_outputs() -> None:
    path = SHARED / "c3vg_full_seed13.safetensors"
    if not path.is_file():
        pytest.skip(f"the full-size fixture {path.name} is not on this machine")
    stored, metadata = load_golden(path)
    with float64_draws():
        method = filled(metadata["options"], "c3vg_base", int(metadata["seed"]))
    count = sum(parameter.numel() for parameter in method.parameters())
    assert count == int(metadata["parameters"]) == 247_802_700
    images, real = image_of(metadata, 1), stored["in.padding"] == 0
    found = stages(method, images, stored["in.ids"], real)
    batch = replace(noise_batch(stored["in.ids"], real, 320, torch.Generator()), images=images)
    output = method(batch)
    found["out.mask"] = output.logits
    found["out.mask_first"] = torch.nn.functional.interpolate(
        output.aux["first_mask"], (320, 320), mode="bilinear", align_corners=True
    )
    for name, expected in stored.items():
        if name in ("in.ids", "in.padding"):
            continue
        values = found[name.removesuffix(".stride4")]
        if name.endswith(".stride4"):
            values = values[:, ::4, ::4] if values.ndim == 3 else values[:, :, ::4, ::4]
        assert_stored(name, values, expected)


def test_the_list_of_released_names_has_the_published_size() -> None:
    shapes = released_shapes("c3vg_base")
    assert len(shapes) == 890
