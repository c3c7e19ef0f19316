"""Released LAVT checkpoints: their parameter names against ours.

Two forms exist. `lavt_one` keeps the text encoder in the network: names start with `backbone.`, `classifier.` and
`text_encoder.`. `lavt` keeps it apart: the checkpoint holds the network under `model` and the text encoder, without
prefix, under `bert_model`. Training state beside them (optimiser, epoch, arguments) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.weights import fit, load_checkpoint, sha256_file, strip_prefixes

if TYPE_CHECKING:
    from baselines.lavt.model import LAVT

DROPPED = {
    r"backbone\..*\.relative_position_index": "follows from the window size; timm computes it",
    r"backbone\..*\.attn_mask": "follows from the map size; computed per image",
    r"text_encoder\.embeddings\.position_ids": "0, 1, 2, ...; transformers no longer stores it",
    r"text_encoder\.pooler\..*": "the pooler's output is not used",
}
"""Official names that have no counterpart on purpose, as patterns, and why."""

_PWAM = {
    "vis_project.0": "visual",
    "project_mm.0": "mix",
    "image_lang_att.f_query.0": "attention.query",
    "image_lang_att.f_key.0": "attention.key",
    "image_lang_att.f_value.0": "attention.value",
    "image_lang_att.W.0": "attention.output",
}
_GATE = {"0": "inner", "2": "outer"}


def our_name(official: str) -> str | None:
    """Our name of an official parameter or buffer; None where it is dropped on purpose or unknown."""
    top, _, rest = official.partition(".")
    if is_dropped(official):
        return None
    if top == "text_encoder":
        return f"text.{rest}"
    if top == "classifier":
        return _decoder_name(rest)
    return _backbone_name(rest) if top == "backbone" else None


def is_dropped(official: str) -> bool:
    """Whether an official name is left out on purpose (`DROPPED`)."""
    return any(re.fullmatch(pattern, official) for pattern in DROPPED)


def _decoder_name(rest: str) -> str | None:
    if rest.startswith("conv1_1."):
        return f"decoder.classify.{rest.removeprefix('conv1_1.')}"
    # Official steps count the map they start from: 4, 3, 2.
    match = re.fullmatch(r"(conv|bn)([12])_([432])\.(\w+)", rest)
    return f"decoder.steps.{4 - int(match[3])}.{match[1]}{match[2]}.{match[4]}" if match else None


def _backbone_name(rest: str) -> str | None:
    if rest.startswith("patch_embed."):
        return f"encoder.{rest}"
    if match := re.fullmatch(r"norm(\d)\.(\w+)", rest):
        return f"stages.{match[1]}.norm.{match[2]}"
    match = re.fullmatch(r"layers\.(\d+)\.(blocks|downsample|fusion|res_gate)\.(.+)", rest)
    if match is None:
        return None
    stage, part, inner = int(match[1]), match[2], match[3]
    if part == "blocks":
        return f"encoder.layers.{stage}.blocks.{inner}"
    if part == "downsample":
        return f"encoder.layers.{stage + 1}.downsample.{inner}"
    module, _, leaf = inner.rpartition(".")
    if part == "res_gate":
        return f"stages.{stage}.gate.{_GATE[module]}.{leaf}" if module in _GATE else None
    return f"stages.{stage}.pwam.{_PWAM[module]}.{leaf}" if module in _PWAM else None


def convert(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official parameters (`lavt_one` names) under our names; 1x1 convolutions over pixels become linear weights.

    Raises:
        MissingResourceError: a name that is neither known nor dropped on purpose; the message names the first few.
    """
    converted: dict[str, Tensor] = {}
    strange: list[str] = []
    for name, value in official.items():
        ours = our_name(name)
        if ours is None:
            strange += [] if is_dropped(name) else [name]
            continue
        pointwise = ".pwam." in ours and value.ndim == 3
        converted[ours] = value.squeeze(-1) if pointwise else value
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise MissingResourceError(f"no LAVT checkpoint: cannot place {', '.join(strange[:3])}{more}.")
    return converted


def official_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters of a checkpoint of either form, or of a bare state dict, under `lavt_one` names."""
    model = checkpoint.get("model", checkpoint)
    text = checkpoint.get("bert_model", {})
    state = strip_prefixes(_tensors(model), ("module.",))
    words = strip_prefixes(_tensors(text), ("module.",))
    return state | {f"text_encoder.{name}": value for name, value in words.items()}


def _tensors(entries: Any) -> dict[str, Tensor]:
    if not isinstance(entries, Mapping):
        raise MissingResourceError(f"no LAVT checkpoint: a {type(entries).__name__} where parameters should be.")
    return {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}


def load_official(method: LAVT, path: Path) -> str:
    """Load a released checkpoint into a method of the same size, strictly; returns the file's sha256.

    Raises:
        MissingResourceError: unreadable, or names or shapes do not fit.
    """
    if not path.is_file():
        raise MissingResourceError(f"LAVT checkpoint {path} does not exist.")
    try:
        fit(method, convert(official_state(load_checkpoint(path))), "its parameters")
    except MissingResourceError as error:
        raise MissingResourceError(f"{path}: {error}") from error
    return sha256_file(path)
