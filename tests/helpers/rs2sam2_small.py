"""RS2-SAM2 at small sizes, batches for it, and its released networks filled with a fixture's numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.rs2sam2 import RS2SAM2
from baselines.rs2sam2.weights import convert
from helpers.batches import noise_batch
from helpers.golden import float64_draws, golden_image, official_state
from helpers.noise import add_noise
from helpers.official import official_keys
from rrsis_bench.nn.weights.files import fit
from rrsis_bench.types import Batch

SMALL: dict[str, Any] = {
    "image_size": 64,
    "hiera_width": 16,
    "hiera_heads": 1,
    "hiera_stages": (1, 1, 2, 1),
    "hiera_global": (2,),
    "hiera_windows": (4, 2, 2, 2),
    "prompt_width": 32,
    "decoder_hidden": 48,
    "iou_hidden": 24,
    "beit_width": 32,
    "beit_layers": 2,
    "beit_heads": 4,
    "beit_image_size": 32,
    "beit_vocabulary": 60,
    "max_tokens": 12,
    "tokenizer": "tiny",
}


def small(seed: int = 0, **changes: Any) -> RS2SAM2:
    """A network with noise on all parameters: zeros would hide the layers behind them."""
    torch.manual_seed(seed)
    method = RS2SAM2.from_options(SMALL | changes)
    add_noise(method.parameters())
    return method.eval()


def make_batch(lengths: tuple[int, ...] = (5, 12, 7), tokens: int = 12, side: int = 64, seed: int = 5) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    count = len(lengths)
    mask = torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(4, 60, (count, 40), generator=draw)[:, :tokens] * mask
    return noise_batch(ids, mask, side, draw)


def fixture_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our options for those of a fixture."""
    return {
        "image_size": options["image"],
        "hiera_width": options["hiera_width"],
        "hiera_heads": options["hiera_heads"],
        "hiera_stages": options["hiera_stages"],
        "hiera_global": options["hiera_global"],
        "hiera_windows": options["hiera_windows"],
        "prompt_width": options["prompt_width"],
        "beit_width": options["beit_width"],
        "beit_heads": options["beit_heads"],
        "beit_layers": options["beit_layers"],
        "beit_image_size": options["beit_image"],
        "beit_vocabulary": options["vocab"],
    }


def released_shapes(keys: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released network, from its list in `fixtures/keys`."""
    return {name: key.shape for name, key in official_keys(keys).items()}


def filled(options: dict[str, Any], keys: str, seed: int) -> RS2SAM2:
    """The network of a fixture in float64, with the parameters that belong to its seed."""
    # Made without memory and filled in place: in float64 the published network has 7 GB.
    with torch.device("meta"):
        method = RS2SAM2.from_options(fixture_options(options))
    method = method.to_empty(device="cpu").double().eval()
    shapes = {name: shape for name, shape in released_shapes(keys).items() if ".memory_" not in name}
    with float64_draws():
        fit(method, convert(official_state(shapes, seed), keep_idle=False), "golden parameters")
    return method


def fixture_images(metadata: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The two images of a fixture, (B, 3, S, S) and (B, 3, n, n); their sums are in its metadata."""
    options, seed = metadata["options"], int(metadata["seed"])
    batch = len(options["lengths"])
    with float64_draws():
        large = golden_image(batch, options["image"], seed)
        small = golden_image(batch, options["beit_image"], seed + 500)
    for image, stored in ((large, "image_sum"), (small, "small_image_sum")):
        assert abs(float(image.sum()) - float(metadata[stored])) < 1e-6
    return large, small


def stages(method: RS2SAM2, images: Tensor, small_images: Tensor, ids: Tensor, real: Tensor, masked: bool) -> Any:
    """Every stored stage by the fixture's names, whole.

    Args:
        method: the network.
        images: (B, 3, S, S).
        small_images: (B, 3, n, n).
        ids: (B, L).
        real: (B, L) bool, True for real words.
        masked: whether adapters and decoder read real words alone.
    """
    sam = method.sam
    states = method.read(small_images, ids, real)
    words = method.words(states.words)
    mask = real if masked else None
    found: dict[str, Tensor] = {"beit3": states.joined, "text": words}
    found["mask_prompt"] = method.generator(states)
    found["sparse"] = method.sparse(states.sentence)[:, None]
    found["dense"] = method.dense_prompt(states)
    maps = []
    for number, (x, text) in enumerate(method.trunk(images, words, mask)):
        found |= {f"block.{number}.image": x, f"block.{number}.text": text, "text_last": text}
        if number in method.hiera.stage_ends:
            maps.append(x)
    neck = method.neck(maps)
    found |= {f"fpn.{j}": x for j, x in enumerate(neck)}
    fused = method.fuse(neck[2] + sam.no_memory_embedding.reshape(1, -1, 1, 1), words, mask)
    found["decoder.fused"] = fused.flatten(2)
    low = method.segment(images, states, words, mask)
    found["low_res_masks"] = low
    found["boundary_weight"] = method.edge(words[:, 0])[:, 0]
    return found
