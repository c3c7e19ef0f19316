"""LQVG at the sizes of its fixture, with the fixture's parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from baselines.pslgsam.grounding import LQVG, Grounded, ResNetRoberta
from baselines.pslgsam.weights import RELEASED
from helpers.golden import official_tensor
from helpers.official import official_keys
from rrsis_bench.nn.weights.files import fit


def build(metadata: Mapping[str, str], layers: tuple[int, int] | None = None) -> LQVG:
    layers = layers or (int(metadata["enc_layers"]), int(metadata["dec_layers"]))
    front = ResNetRoberta(256, (768, 2, 12, 1000, 514))
    sizes = (int(metadata[name]) for name in ("points", "dim_feedforward", "queries"))
    points, hidden, queries = sizes
    return LQVG(front, 256, 8, points, layers, hidden, queries, 0.1)


def official_state(network: LQVG) -> dict[str, Tensor]:
    """The parameters of one of our networks by their official names."""
    own = network.state_dict()
    return {key: own[ours] for key in official_keys("lqvg_r50") if (ours := RELEASED.ours(key) or "") in own}


def fill(network: LQVG, seed: int) -> None:
    """The fixture's parameters, by official names and the method's own map."""
    official = {key: official_tensor(key, tuple(v.shape), seed) for key, v in official_state(network).items()}
    fit(network, RELEASED.convert(official, network), "golden parameters")


def padded_images(sizes: list[tuple[int, int]], seed: int) -> tuple[Tensor, Tensor]:
    """Images in float64, zero at padding, and their padding."""
    height, width = (-(-max(size[axis] for size in sizes) // 32) * 32 for axis in (0, 1))
    images, padding = [], []
    for b, (h, w) in enumerate(sizes):
        image = torch.randn(1, 3, h, w, generator=Generator().manual_seed(1000 + seed + 7 * b))
        images.append(F.pad(image, (0, width - w, 0, height - h)))
        padding.append(F.pad(torch.zeros(h, w), (0, width - w, 0, height - h), value=1.0).bool())
    return torch.cat(images).double(), torch.stack(padding)


def stages(maps: list[Tensor], found: Grounded) -> dict[str, Tensor]:
    """Everything that the fixture stores of a pass, in its layout."""
    detected = found.found
    sizes = found.levels.sizes
    cells = [one.transpose(1, 2).unflatten(-1, size) for one, size in zip(found.fused, sizes, strict=True)]
    return {
        **{f"resnet.{i}": one[:, ::32, ::2, ::2] for i, one in enumerate(maps)},
        **{f"fused.{i}": one[:, ::8] for i, one in enumerate(cells)},
        **{f"pos.{i}": one.permute(0, 3, 1, 2)[:, ::8] for i, one in enumerate(found.codes)},
        **{f"mask.{i}": one.to(torch.uint8) for i, one in enumerate(found.padding)},
        "text": found.text,
        "words": found.words,
        "sentence": found.sentence,
        "memory": detected.memory[..., ::8],
        "hs": detected.states[..., ::4],
        "init_ref": detected.references[0],
        "inter_ref": torch.stack(detected.references[1:]),
        "pred_logits": detected.scores[-1],
        "pred_boxes": detected.boxes[-1],
        **{f"aux.{j}.logits": one for j, one in enumerate(detected.scores[:-1])},
        **{f"aux.{j}.boxes": one for j, one in enumerate(detected.boxes[:-1])},
    }
