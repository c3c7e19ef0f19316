"""Released networks of LAVT's family: lists of their parameters, and a comparison of our networks with theirs."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.golden import golden_image, load_golden, official_tensor
from rrsis_bench.families.lavt.decoder import upsample_aligned
from rrsis_bench.families.lavt.family import LAVTFamily
from rrsis_bench.nn.weights.files import fit

KEYS = Path(__file__).resolve().parents[1] / "fixtures" / "keys"

PARTS = {"target_mask": "object", "position_mask": "position"}
"""Names of a fixture's masks of parts of the expression -> our names."""


@dataclass(frozen=True)
class Key:
    """A released parameter or buffer."""

    shape: tuple[int, ...]
    is_parameter: bool


SMALL_FAMILY: dict[str, Any] = {
    "image_size": 64,
    "swin_width": 8,
    "swin_depths": [1, 1, 1, 1],
    "swin_heads": [1, 2, 4, 8],
    "swin_window": 4,
    "text_width": 16,
    "text_layers": 2,
    "text_heads": 2,
    "text_vocabulary": 60,
    "text_positions": 40,
    "decoder_width": 12,
}
"""Options of the LAVT family's networks: the real network at a size that runs in a moment."""


def official_keys(name: str) -> dict[str, Key]:
    """Every parameter and buffer of a released network at its published size."""
    lines = gzip.decompress((KEYS / f"{name}.txt.gz").read_bytes()).decode().splitlines()
    keys = {}
    for line in lines:
        key, kind, shape = line.split()
        keys[key] = Key(() if shape == "-" else tuple(int(n) for n in shape.split(",")), kind == "param")
    return keys


def official_shapes(method: LAVTFamily, name: str) -> dict[str, tuple[int, ...]]:
    """Released names and shapes of a network of any size, derived from the published list and our tensors.

    A listed axis of length 1 stays even if our tensor lacks it. These are the last axes of 1x1 convolutions that are
    linear layers here, and the first axis of a list of one kernel (five axes).
    """
    own = method.state_dict()
    shapes = {}
    for key, listed in official_keys(name).items():
        ours = method.released.ours(key)
        if ours in own:
            here = tuple(own[ours].shape)
            kernels = (1,) if len(listed.shape) == 5 else ()
            shapes[key] = kernels + here + listed.shape[len(kernels + here) :]
    return shapes


def official_checkpoint(method: LAVTFamily, name: str) -> dict[str, Tensor]:
    """The parameters of one of our networks, in the layout of a released checkpoint."""
    own = method.state_dict()
    return {
        key: own[method.released.ours(key) or ""].reshape(shape).clone()
        for key, shape in official_shapes(method, name).items()
    }


def fill(method: LAVTFamily, name: str, seed: int, head: dict[str, Tensor]) -> None:
    """Load a fixture's parameters, which have official names, by the method's own name map."""
    official: dict[str, Tensor] = {}
    for key, shape in official_shapes(method, name).items():
        fixed = key.endswith("num_batches_tracked")
        official[key] = torch.tensor(0) if fixed else official_tensor(key, shape, seed)
    official |= {f"classifier.conv1_1.{key.removeprefix('head.')}": value for key, value in head.items()}
    fit(method, method.released.convert(official, method), "golden parameters")


@torch.no_grad()
def check_golden(path: Path, name: str, build: Callable[[dict[str, Any]], LAVTFamily], text: str = "context") -> None:
    """Compare one of our networks with the stored outputs of the released one, in float64 within 1e-6.

    Args:
        path: the fixture.
        name: of the released network's list of parameters.
        build: the network of the fixture's options.
        text: which text the fixture's `text` is: the last one its network encoded.
    """
    golden, metadata = load_golden(path)
    method = build(metadata["options"]).double().eval()
    assert sum(parameter.numel() for parameter in method.parameters()) == int(metadata["parameters"])
    seed, size, batch = int(metadata["seed"]), int(metadata["image_size"]), int(metadata["batch"])
    fill(method, name, seed, {key: value for key, value in golden.items() if key.startswith("head.")})
    images = golden_image(batch, size, seed).double()
    assert images.sum().item() == pytest.approx(float(metadata["image_sum"]), abs=1e-6)
    parts = {ours: golden[f"in.{theirs}"] for theirs, ours in PARTS.items() if f"in.{theirs}" in golden}
    found = method.features(images, golden["in.ids"], golden["in.attention"], parts)
    full = upsample_aligned(found.classes, (size, size))
    pairs = {
        "text": found.texts[text].states,
        "logits_quarter": found.classes[:, :, ::2, ::2],
        "logits_stride8": full[:, :, ::8, ::8],
        **{f"maps.{i}": fused[:, ::16, ::5, ::5] for i, fused in enumerate(found.maps)},
    }
    for key, value in pairs.items():
        torch.testing.assert_close(value, golden[key], rtol=0, atol=1e-6, msg=lambda why, key=key: f"{key}: {why}")


def small_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our options for the options of a fixture."""
    return {
        "swin_depths": options["depths"],
        "text_layers": options["bert_layers"],
        "text_vocabulary": options["vocab_size"],
    }
