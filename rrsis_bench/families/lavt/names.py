"""Released checkpoints of LAVT's code base and its descendants: official parameter names and ours.

Two forms exist. `lavt_one` keeps the text encoder in the network: names start with `backbone.`, `classifier.` and
`text_encoder.`. `lavt` keeps it separate: the checkpoint holds the network under `model` and the text encoder, without
prefix, under `bert_model`. Training state (optimiser, epoch, arguments) is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.weights.files import fit, load_checkpoint, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.name_map import NameMap
from rrsis_bench.nn.weights.refs import sha256_file

STAGE, OURS = "backbone.layers.*", "stages.*"
"""Prefix of a stage's language modules in the released networks, and in ours."""


def attention_names(official: str, ours: str) -> dict[str, str]:
    """Names of a word attention's four projections."""
    inner = {"f_query.0": "query", "f_key.0": "key", "f_value.0": "value", "W.0": "output"}
    return {f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()}


def pwam_names(official: str, ours: str) -> dict[str, str]:
    """Names of a pixel-word attention module."""
    return {
        f"{official}.vis_project.0": f"{ours}.visual",
        f"{official}.project_mm.0": f"{ours}.mix",
        **attention_names(f"{official}.image_lang_att", f"{ours}.attention"),
    }


def gate_names(official: str, ours: str) -> dict[str, str]:
    """Names of a language gate's two layers."""
    return {f"{official}.0": f"{ours}.inner", f"{official}.2": f"{ours}.outer"}


SHARED_NAMES: Mapping[str, str] = {
    "text_encoder": "text",
    "backbone.patch_embed": "encoder.patch_embed",
    **{f"backbone.norm{stage}": f"stages.{stage}.norm" for stage in range(4)},
    "backbone.layers.*.blocks": "encoder.layers.*.blocks",
    # timm keeps a reduction at the start of the next stage.
    **{f"backbone.layers.{stage}.downsample": f"encoder.layers.{stage + 1}.downsample" for stage in range(3)},
    "classifier.conv1_1": "decoder.classify",
    # Official steps count the map they start from: 4, 3, 2.
    **{
        f"classifier.{layer}_{start}": f"decoder.steps.{4 - start}.{layer}"
        for start in (4, 3, 2)
        for layer in ("conv1", "bn1", "conv2", "bn2")
    },
}
"""Official name -> ours, for the modules of all released networks of the family; `*` is a number."""

SHARED_DROPPED: Mapping[str, str] = {
    r"backbone\..*\.relative_position_index": "follows from the window size; timm computes it",
    r"backbone\..*\.attn_mask": "follows from the map size; computed per image",
    r"text_encoder\.embeddings\.position_ids": "0, 1, 2, ...; transformers no longer stores it",
    r"text_encoder\.pooler\..*": "the pooler's output is not used",
}
"""Patterns of official names that have no counterpart on purpose -> the reason."""


def official_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters of a checkpoint of either form, or of a bare state dict, under `lavt_one` names."""
    model = checkpoint.get("model", checkpoint)
    text = checkpoint.get("bert_model", {})
    state = strip_prefixes(_tensors(model), ("module.",))
    words = strip_prefixes(_tensors(text), ("module.",))
    return state | {f"text_encoder.{name}": value for name, value in words.items()}


def _tensors(entries: Any) -> dict[str, Tensor]:
    if not isinstance(entries, Mapping):
        raise MissingResourceError(f"no checkpoint: a {type(entries).__name__} where parameters should be.")
    return {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}


def load_official(network: nn.Module, path: Path, names: NameMap, further: Mapping[str, Tensor] | None = None) -> str:
    """Load a released checkpoint into a network of the same size, strictly.

    Args:
        network: receives the values.
        path: the checkpoint.
        names: official parameter names and ours.
        further: tensors of the network, by our names, that no released file holds.

    Returns:
        sha256 of the file.

    Raises:
        MissingResourceError: the file is missing or unreadable, or names or shapes do not fit.
    """
    with naming_the_file(path):
        converted = names.convert(official_state(load_checkpoint(path)), network)
        fit(network, {**converted, **(further or {})}, "its parameters")
    return sha256_file(path)
