"""Released DETRIS checkpoints: official parameter names and ours.

Inside neck, decoder, projector and adapters the names agree. The encoders carry OpenAI CLIP's and DINOv2's own names;
DINOv2's are converted like those of its base weights. A file may hold everything, or lack an encoder's frozen part as a
whole; that part then comes from the base weights that the options name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rrsis_bench.families.detris.family import DetrisFamily
from rrsis_bench.nn.encoders.dinov2 import AdaptedDinov2, timm_layout
from rrsis_bench.nn.weights.files import fit, load_tensors, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.name_map import NameMap
from rrsis_bench.nn.weights.refs import sha256_file

VISION, TEXT = "vision.trunk.", "text.trunk."

RELEASED = NameMap(
    "DETRIS",
    {
        "neck": "head.neck",
        "decoder": "head.decoder",
        "proj": "head.projector",
        # Before the encoders' own names: the first match counts.
        "dinov2.blocks.*.adapter": "vision.adapters.*",
        "txt_backbone.transformer.resblocks.*.adapter": "text.adapters.*.inner",
        "dinov2": VISION.rstrip("."),
        "txt_backbone": TEXT.rstrip("."),
    },
    {
        r"dinov2\.mask_token": "stands for hidden patches in DINOv2's pre-training",
        r"txt_backbone\.visual\..*": "CLIP's image half; the network looks with DINOv2",
        r"txt_backbone\.logit_scale": "the temperature of CLIP's contrastive training",
    },
)
"""Module names, official -> ours (`*` is a number), and names that have no counterpart on purpose -> the reason."""


def convert(method: DetrisFamily, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released parameters under our names.

    Raises:
        MissingResourceError: a name has no place; the message names the first few.
    """
    converted = RELEASED.convert(official, method)
    seen = {name.removeprefix(VISION): value for name, value in converted.items() if name.startswith(VISION)}
    if seen and isinstance(method.vision, AdaptedDinov2):
        # timm knows the official layout by its mask token, which was dropped.
        layout = seen | ({"mask_token": seen["register_tokens"]} if "register_tokens" in seen else {})
        converted = {name: value for name, value in converted.items() if not name.startswith(VISION)}
        converted |= {VISION + name: value for name, value in timm_layout(method.vision.trunk, layout).items()}
    return converted


def load_official(method: DetrisFamily, path: Path) -> str:
    """Load a released checkpoint into a network of the same size, strictly.

    Returns:
        sha256 of the file.

    Raises:
        MissingResourceError: the file or base weights under it are missing or unreadable, or names or shapes differ.
        UsageError: the file lacks a frozen encoder, and the options name no base weights.
    """
    with naming_the_file(path):
        official = strip_prefixes(load_tensors(path), ("module.",))
        converted = convert(
            method, {name: value.float() if value.is_floating_point() else value for name, value in official.items()}
        )
        absent = [prefix for prefix in (VISION, TEXT) if not any(name.startswith(prefix) for name in converted)]
        if absent:
            method.load_pretrained()
            base = method.state_dict()
            converted |= {name: value for name, value in base.items() if name.startswith(tuple(absent))}
        fit(method, converted, "its parameters")
    return sha256_file(path)
