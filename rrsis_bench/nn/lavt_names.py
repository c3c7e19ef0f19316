"""Released checkpoints of LAVT's code base and its descendants: their parameter names against ours.

Two forms exist. `lavt_one` keeps the text encoder in the network: names start with `backbone.`, `classifier.` and
`text_encoder.`. `lavt` keeps it apart: the checkpoint holds the network under `model` and the text encoder, without
prefix, under `bert_model`. Training state beside them (optimiser, epoch, arguments) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.nn.weights import fit, load_checkpoint, sha256_file, strip_prefixes

STAGE, OURS = "backbone.layers.*", "stages.*"
"""Where a stage's language modules stand in the released networks, and where in ours."""


def attention_names(official: str, ours: str) -> dict[str, str]:
    """The four projections of a word attention."""
    inner = {"f_query.0": "query", "f_key.0": "key", "f_value.0": "value", "W.0": "output"}
    return {f"{official}.{theirs}": f"{ours}.{name}" for theirs, name in inner.items()}


def pwam_names(official: str, ours: str) -> dict[str, str]:
    """A pixel-word attention module."""
    return {
        f"{official}.vis_project.0": f"{ours}.visual",
        f"{official}.project_mm.0": f"{ours}.mix",
        **attention_names(f"{official}.image_lang_att", f"{ours}.attention"),
    }


def gate_names(official: str, ours: str) -> dict[str, str]:
    """A language gate: two layers with an activation between."""
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
"""Modules that all released networks of the family have, official name to ours; `*` is a number."""

SHARED_DROPPED: Mapping[str, str] = {
    r"backbone\..*\.relative_position_index": "follows from the window size; timm computes it",
    r"backbone\..*\.attn_mask": "follows from the map size; computed per image",
    r"text_encoder\.embeddings\.position_ids": "0, 1, 2, ...; transformers no longer stores it",
    r"text_encoder\.pooler\..*": "the pooler's output is not used",
}
"""Official names that have no counterpart on purpose, as patterns, and why."""


@dataclass(frozen=True)
class NameMap:
    """Official parameter names against ours.

    Attributes:
        method: the method's name, for messages.
        modules: official module name (`*` for a number) to ours; what follows it in a parameter's name is kept.
        dropped: patterns of official names without counterpart, and why.
    """

    method: str
    modules: Mapping[str, str]
    dropped: Mapping[str, str]

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        patterns = []
        for official, ours in self.modules.items():
            found = re.escape(official).replace(r"\*", r"(\d+)")
            numbers = iter(range(1, official.count("*") + 1))
            target = "".join(rf"\{next(numbers)}" if char == "*" else char for char in ours)
            patterns.append((re.compile(rf"{found}(\..+)"), rf"{target}\{official.count('*') + 1}"))
        return patterns

    def ours(self, official: str) -> str | None:
        """Our name of an official parameter or buffer; None where it is dropped on purpose or unknown."""
        if self.is_dropped(official):
            return None
        for pattern, target in self._patterns:
            if match := pattern.fullmatch(official):
                return match.expand(target)
        return None

    def is_dropped(self, official: str) -> bool:
        """Whether an official name is left out on purpose."""
        return any(re.fullmatch(pattern, official) for pattern in self.dropped)

    def convert(self, official: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
        """Official parameters (`lavt_one` names) under our names.

        Axes of length 1 that our tensor lacks are dropped: of 1x1 convolutions that are linear layers here, and of a
        list of one kernel.

        Raises:
            MissingResourceError: a name that is neither known nor dropped on purpose; the message names the first few.
        """
        own = network.state_dict()
        converted: dict[str, Tensor] = {}
        strange: list[str] = []
        for name, value in official.items():
            ours = self.ours(name)
            if ours is None:
                strange += [] if self.is_dropped(name) else [name]
                continue
            converted[ours] = value
            if ours in own and value.ndim > own[ours].ndim and _long_axes(value) == _long_axes(own[ours]):
                converted[ours] = value.reshape(own[ours].shape)
        if strange:
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            raise MissingResourceError(f"no {self.method} checkpoint: cannot place {', '.join(strange[:3])}{more}.")
        return converted


def _long_axes(tensor: Tensor) -> list[int]:
    return [length for length in tensor.shape if length > 1]


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


def load_official(network: nn.Module, path: Path, names: NameMap) -> str:
    """Load a released checkpoint into a network of the same size, strictly; returns the file's sha256.

    Raises:
        MissingResourceError: unreadable, or names or shapes do not fit.
    """
    if not path.is_file():
        raise MissingResourceError(f"{names.method} checkpoint {path} does not exist.")
    try:
        fit(network, names.convert(official_state(load_checkpoint(path)), network), "its parameters")
    except MissingResourceError as error:
        raise MissingResourceError(f"{path}: {error}") from error
    return sha256_file(path)
