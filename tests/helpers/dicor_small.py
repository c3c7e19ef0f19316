"""DiCoR at small sizes, and its released networks filled with a fixture's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from baselines.dicor import DiCoR
from baselines.dicor.weights import names_for
from helpers.golden import golden_image, official_tensor
from helpers.noise import add_noise
from helpers.official import SMALL_FAMILY, official_keys
from rrsis_bench.nn.weights.files import fit
from rrsis_bench.nn.weights.name_map import NameMap

SMALL: dict[str, Any] = SMALL_FAMILY | {
    "tokenizer": "tiny",
    "max_tokens": 16,
    "special_ids": [1, 2],
    "msf_blocks": 2,
    "msf_heads": 2,
    "guide_hidden": 12,
    "guide_query": 10,
    "guide_router": 8,
    "guide_geometry": 6,
    "refiner_width": 4,
    "refiner_levels": 2,
}


def small(seed: int = 0, **changes: Any) -> DiCoR:
    """A network with noise on all parameters: zeros would hide the layers behind them."""
    torch.manual_seed(seed)
    method = DiCoR.from_options(SMALL | changes)
    add_noise(method.parameters())
    return method


def names_of(method: DiCoR) -> NameMap:
    """The released names of a network."""
    options = method.options
    return names_for(options.language, options.has_guide, options.has_refiner)


def released_shapes(method: DiCoR, keys: str) -> dict[str, tuple[int, ...]]:
    """Released names and shapes of a network of any size, from a published list and our tensors."""
    own, names = method.state_dict(), names_of(method)
    shapes = {}
    for key, listed in official_keys(keys).items():
        ours = names.ours(key)
        if ours in own:
            here = tuple(own[ours].shape)
            shapes[key] = here + listed.shape[len(here) :]
    return shapes


def drawn(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A fixture's parameter or buffer by its released name."""
    return torch.tensor(0) if key.endswith("num_batches_tracked") else official_tensor(key, shape, seed)


def filled(options: Mapping[str, Any], keys: str, seed: int) -> DiCoR:
    """The network of a fixture in float64, with the parameters that belong to its seed."""
    method = DiCoR.from_options({**options, "swin_depths": [2, 2, 2, 2], "text_layers": 2, "text_vocabulary": 1000})
    method = method.double().eval()
    official = {key: drawn(key, shape, seed) for key, shape in released_shapes(method, keys).items()}
    converted = names_of(method).convert(official, method)
    fit(method, {**({"guide.acts": torch.ones(())} if method.guide is not None else {}), **converted}, "numbers")
    return method


def fill_part(parts: nn.Module, keys: str, official: str, prefix: str, seed: int) -> None:
    """Fill a part of the network that stands alone, in float64.

    Args:
        parts: holds the part under the name that it has in `DiCoR`.
        keys: name of a published list that has the part.
        official: prefix of the part's names in that list.
        prefix: the fixture's prefix in place of it.
        seed: of the fixture.
    """
    parts.double().eval()
    own, names = parts.state_dict(), names_for(keys != "dicor_coarse", True, True)
    values = {}
    for key, listed in official_keys(keys).items():
        ours = names.ours(key)
        if key.startswith(official) and ours in own:
            shape = (*own[ours].shape, *listed.shape[own[ours].ndim :])
            values[ours] = drawn(f"{prefix}{key.removeprefix(official)}", shape, seed)
    fit(parts, {**({"guide.acts": torch.ones(())} if "guide.acts" in own else {}), **values}, "numbers")


def fixture_images(metadata: Mapping[str, Any]) -> Tensor:
    """The images (B, 3, H, W) of a fixture; their sum is in its metadata."""
    images = golden_image(int(metadata["batch"]), int(metadata["size"]), int(metadata["seed"])).double()
    assert abs(float(images.sum()) - float(metadata["image_sum"])) < 1e-6
    return images
