"""LAVT against the outputs of the released network, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.lavt.model import LAVT
from baselines.lavt.weights import convert
from rrsis_bench.nn.weights import fit
from tests.helpers.golden import FIXTURES, golden_image, load_golden, official_tensor
from tests.methods.lavt_names import official_shapes

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


def build(options: dict[str, Any]) -> LAVT:
    return LAVT.from_options(
        {
            "swin_depths": options["depths"],
            "text_layers": options["bert_layers"],
            "text_vocabulary": options["vocab_size"],
        }
    )


def fill(method: LAVT, seed: int, head: dict[str, Tensor]) -> None:
    """The fixture's parameters, given by official name and loaded through the method's own name map."""
    official: dict[str, Tensor] = {}
    for name, shape in official_shapes(method).items():
        fixed = name.endswith("num_batches_tracked")
        official[name] = torch.tensor(0) if fixed else official_tensor(name, shape, seed)
    official |= {f"classifier.conv1_1.{name.removeprefix('head.')}": value for name, value in head.items()}
    fit(method, convert(official), "golden parameters")


@torch.no_grad()
def check(path: Path) -> None:
    golden, metadata = load_golden(path)
    method = build(metadata["options"]).double().eval()
    assert sum(parameter.numel() for parameter in method.parameters()) == int(metadata["parameters"])
    seed, size, batch = int(metadata["seed"]), int(metadata["image_size"]), int(metadata["batch"])
    fill(method, seed, {name: value for name, value in golden.items() if name.startswith("head.")})
    images = golden_image(batch, size, seed).double()
    assert images.sum().item() == pytest.approx(float(metadata["image_sum"]), abs=1e-6)
    found = method.features(images, golden["in.ids"], golden["in.attention"])
    full = torch.nn.functional.interpolate(found.classes, (size, size), mode="bilinear", align_corners=True)
    pairs = {
        "text": found.words,
        "logits_quarter": found.classes[:, :, ::2, ::2],
        "logits_stride8": full[:, :, ::8, ::8],
        **{f"maps.{i}": fused[:, ::16, ::5, ::5] for i, fused in enumerate(found.maps)},
    }
    for name, value in pairs.items():
        torch.testing.assert_close(
            value, golden[name], rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_small_network_gives_the_released_outputs() -> None:
    check(FIXTURES / "lavt_small_seed0.safetensors")


@pytest.mark.parity
def test_published_network_gives_the_released_outputs() -> None:
    path = SHARED / "lavt_full_seed1.safetensors"
    if not path.is_file():
        pytest.skip(f"the full-size fixture {path.name} is not on this machine")
    check(path)
