"""C3VG at small sizes, batches for it, and its released networks filled with a fixture's numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.c3vg import C3VG
from baselines.c3vg.weights import convert
from helpers.batches import noise_batch
from helpers.golden import official_state
from helpers.noise import add_noise
from helpers.official import official_keys
from rrsis_bench.nn.weights.files import fit
from rrsis_bench.types import Batch

SMALL: dict[str, Any] = {
    "image_size": 64,
    "beit_width": 32,
    "beit_layers": 2,
    "beit_heads": 4,
    "beit_vocabulary": 60,
    "width": 32,
    "heads": 4,
    "hidden": 48,
    "tokenizer": "tiny",
    "max_tokens": 12,
}


def small(seed: int = 0, **changes: Any) -> C3VG:
    """A network with noise on all parameters: zeros would hide the layers behind them."""
    torch.manual_seed(seed)
    method = C3VG.from_options(SMALL | changes)
    add_noise(method.parameters())
    return method.eval()


def make_batch(lengths: tuple[int, ...] = (5, 12, 7), tokens: int = 12, side: int = 64, seed: int = 5) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(4, 60, (len(lengths), 40), generator=draw)[:, :tokens]
    return noise_batch(torch.where(mask, ids, 1), mask, side, draw)


def released_shapes(keys: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released network, from its list in `fixtures/keys`."""
    return {name: key.shape for name, key in official_keys(keys).items()}


def fixture_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our options for those of a fixture."""
    named = {
        "image": "image_size",
        "width": "beit_width",
        "heads": "beit_heads",
        "layers": "beit_layers",
        "vocab": "beit_vocabulary",
        "hidden": "width",
        "tokens": "max_tokens",
    }
    return {"official": True, **{ours: options[theirs] for theirs, ours in named.items() if theirs in options}}


def filled(options: dict[str, Any], keys: str, seed: int) -> C3VG:
    """The network of a fixture in float64, with the parameters that belong to its seed."""
    # Made without memory and filled in place: in float64 the published network has 2 GB.
    with torch.device("meta"):
        method = C3VG.from_options(fixture_options(options))
    method = method.to_empty(device="cpu").double().eval()
    state = official_state(released_shapes(keys), seed)
    state |= {name: torch.zeros(()) for name in state if name.endswith("num_batches_tracked")}
    fit(method, convert(state, method, keep_idle=True), "golden parameters")
    return method


def stages(method: C3VG, images: Tensor, ids: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Every stored stage by the fixture's names, whole.

    Args:
        method: the network.
        images: (B, 3, S, S).
        ids: (B, L).
        real: (B, L) bool, True for real words.
    """
    states = method.beit3(images, ids, real)
    found = method.find(states, real)
    interaction, words = method.interaction, method.words(states.words)
    side = found.map.shape[-1]
    maps = method.places(states.patches.transpose(1, 2).unflatten(2, (side, side)))
    features = interaction.image(maps)
    return {
        "enc.image": states.patches,
        "enc.text": states.words,
        "enc.cls": states.sentence,
        "query": found.query,
        "mask_low": found.first_mask,
        "uim.box_query": interaction.box_query(features, found.first_box),
        "uim.seg_tokens": interaction.place_tokens(features, found.first_box, found.first_mask),
        "uim.box": found.box_state,
        "uim.seg": found.map,
        **{f"fpn.{k}": x for k, x in enumerate(method.pyramid(found.map))},
        "decoded": found.decoded,
        "mask_low.2": method.pixels(found.decoded, method.sentence(words, real)),
        "out.bbox_first": found.first_box,
        "out.bbox": found.box,
    }
