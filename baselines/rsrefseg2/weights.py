"""Released RSRefSeg 2 checkpoints: official parameter names and ours.

A file may hold all parameters or only the trained ones, flat or under `state_dict`. Trained parameters are laid over
the base weights that the options name. A name without a place, on either side, is an error that names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders import sam2
from rrsis_bench.nn.encoders.sam import rename
from rrsis_bench.nn.encoders.sam_v1 import SHARED, SamHF
from rrsis_bench.nn.weights.files import few, fit, load_checkpoint, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.refs import sha256_file

SEGMENTER = "segmenter.network."
_TOP = {
    "clip_vision_encoder.base_model.model.model.": "dual.vision.",
    "clip_text_encoder.base_model.model.model.": "dual.text.",
}
_SCALARS = {
    "clip_text_encoder.base_model.model.logit_scale": "dual.log_scale",
    "clip_text_encoder.base_model.model.logit_bias": "dual.bias",
    "decode_head.logit_scale1": "contrast.log_scale1",
    "decode_head.logit_scale2": "contrast.log_scale2",
    "decode_head.logit_bias1": "contrast.bias1",
    "decode_head.logit_bias2": "contrast.bias2",
}
_WRAPPED = re.compile(r"^backbone\.model\.(image_encoder|vision_encoder)\.base_model\.model\.")
_TABLES = {
    "text_query_pe_embedding1": "first_position",
    "text_query_pe_embedding2": "second_position",
    "img_pe": "image_position",
    "prompt_pe_embedding": "prompt_position",
    "prompt_embedding": "prompt_start",
}
_STAGES = {
    "two_queries_text_attn_layers": "split",
    "queries1_to_img_attn_layers": "activate",
    "prompt_queries2_img_attn_layers": "read",
}
_STEPS: Mapping[str, Mapping[str, str]] = {
    "split": {
        "self_attn_query_query1": "own1.attention",
        "norm_query1_1": "own1.norm",
        "self_attn_query_query2": "own2.attention",
        "norm_query2_1": "own2.norm",
        "cross_attn_query_text_query1_text": "words1.attention",
        "norm_query1_2": "words1.norm",
        "mlp_query1_2": "words1_feed.mlp",
        "norm_query1_3": "words1_feed.norm",
        "cross_attn_query_text_query2_text": "words2.attention",
        "norm_query2_2": "words2.norm",
        "mlp_query2_2": "words2_feed.mlp",
        "norm_query2_3": "words2_feed.norm",
        "cross_attn_query_query_query1_query2": "other1.attention",
        "norm_query1_4": "other1.norm",
        "mlp_query1_3": "other1_feed.mlp",
        "norm_query1_5": "other1_feed.norm",
        "cross_attn_query_query_query2_query1": "other2.attention",
        "norm_query2_4": "other2.norm",
        "mlp_query2_3": "other2_feed.mlp",
        "norm_query2_5": "other2_feed.norm",
    },
    "activate": {
        "self_attn_text_text_1": "own.attention",
        "norm_text_1": "own.norm",
        "cross_attn_img_text_1": "image.attention",
        "norm_img_1": "image.norm",
        "mlp_img_1": "image_feed.mlp",
        "norm_img_2": "image_feed.norm",
    },
    "read": {
        "self_attn_text_1": "activate.own.attention",
        "norm_text_1": "activate.own.norm",
        "cross_attn_img_text_1": "activate.image.attention",
        "norm_img_1": "activate.image.norm",
        "mlp_img_1": "activate.image_feed.mlp",
        "norm_img_2": "activate.image_feed.norm",
        "self_attn_prompt_1": "own.attention",
        "norm_prompt_1": "own.norm",
        "cross_attn_prompt_text_1": "text.attention",
        "norm_prompt_2": "text.norm",
        "mlp_prompt_2": "text_feed.mlp",
        "norm_prompt_3": "text_feed.norm",
        "cross_attn_prompt_img_1": "image.attention",
        "norm_prompt_4": "image.norm",
        "mlp_prompt_3": "image_feed.mlp",
        "norm_prompt_5": "image_feed.norm",
    },
}


@dataclass(frozen=True)
class Placed:
    """The parameters that a released checkpoint filled.

    Attributes:
        sha256: sha256 of the file.
        form: `state_dict` or `flat`.
        whole: the file held all parameters, not only the trained ones.
        names: official name -> ours.
    """

    sha256: str
    form: str
    whole: bool
    names: Mapping[str, str]

    def __str__(self) -> str:
        """One line with the number of tensors per part."""
        counted = Counter(".".join(ours.split(".")[:2]) for ours in self.names.values())
        parts = ", ".join(f"{part} {number}" for part, number in sorted(counted.items()))
        content = "everything" if self.whole else "only what trains, over the base weights"
        return f"RSRefSeg 2 checkpoint ({self.form}, {content}): placed {len(self.names)} tensors: {parts}"


def our_name(official: str) -> str | None:
    """Our name of an official parameter or buffer, for either segmenter; None if it has no place."""
    if official in _SCALARS:
        return _SCALARS[official]
    for prefix, ours in _TOP.items():
        if official.startswith(prefix):
            return ours + official.removeprefix(prefix)
    if official.startswith("prompter."):
        inner = _prompter_name(official.removeprefix("prompter."))
        return None if inner is None else f"prompter.{inner}"
    if official.startswith("backbone.model."):
        name = _WRAPPED.sub(r"\1.", official).removeprefix("backbone.model.")
        if name.startswith(("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.")) or name == "no_mem_embed":
            return SEGMENTER + rename(name, (*sam2.TRUNK, *sam2.PROMPTS, *sam2.HEADS))
        if name.startswith(("vision_encoder.", "prompt_encoder.", "mask_decoder.", "shared_image_embedding.")):
            return SEGMENTER + name
    return None


def _prompter_name(name: str) -> str | None:
    if name in _TABLES:
        return _TABLES[name]
    for theirs, ours in (("sparse_prompt_mlp.", "sparse."), ("dense_prompt_conv.", "dense.conv.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    match = re.fullmatch(r"(\w+)\.(\d+)\.(\w+)\.(.+)", name)
    if match is None or match[1] not in _STAGES:
        return None
    stage = _STAGES[match[1]]
    step = _STEPS[stage].get(match[3])
    return None if step is None else f"{stage}.{match[2]}.{step}.{match[4]}"


def convert(official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Official parameters under our names.

    Returns:
        our name -> value, and official name -> our name.

    Raises:
        MissingResourceError: a name has no place; the message names the first few.
    """
    names: dict[str, str] = {}
    strange: list[str] = []
    for name in official:
        ours = our_name(name)
        if ours is None:
            strange.append(name)
        else:
            names[name] = ours
    if strange:
        raise MissingResourceError(f"no RSRefSeg 2 checkpoint: cannot place {few(strange)}.")
    converted: dict[str, Tensor] = {}
    segmenter: dict[str, Tensor] = {}
    for name, ours in names.items():
        if ours.startswith(SEGMENTER):
            segmenter[_WRAPPED.sub(r"\1.", name).removeprefix("backbone.model.")] = official[name]
        else:
            # The scalars' number of dimensions differs between releases of the library.
            converted[ours] = official[name].reshape(1) if name in _SCALARS else official[name]
    if any(name.startswith("sam_mask_decoder.") for name in segmenter):
        segmenter = sam2.from_authors(segmenter, "its parameters")
        table = "prompt_encoder.point_embed.weight"
        names = {
            name: SEGMENTER + table if ".sam_prompt_encoder.point_embeddings." in name else ours
            for name, ours in names.items()
        }
    elif "shared_image_embedding.positional_embedding" in segmenter:
        segmenter[SHARED] = segmenter["shared_image_embedding.positional_embedding"]
    return converted | {SEGMENTER + name: value for name, value in segmenter.items()}, names


def load_official(method: Method, path: Path) -> Placed:
    """Load a released checkpoint into an RSRefSeg 2 of the same size, strictly.

    Args:
        method: an `RSRefSeg2`.
        path: the checkpoint.

    Returns:
        the parameters that the file filled.

    Raises:
        MissingResourceError: the file or base weights under it are missing or unreadable, or names or shapes differ.
    """
    with naming_the_file(path):
        form, official = _state(load_checkpoint(path))
        converted, names = convert(official)
        own = method.state_dict()
        strange = [name for name, ours in names.items() if ours not in own]
        if strange:
            advice = _advice(method.get_submodule("segmenter"), strange)
            raise MissingResourceError(f"cannot place {few(strange)}. {advice}")
        missing = [name for name in own if name not in converted]
        frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
        whole = not missing
        if not whole:
            left_out = [name for name in missing if name not in frozen and not _is_code(name)]
            if left_out:
                raise MissingResourceError(f"its parameters do not fit the network: it misses {few(left_out)}.")
            method.load_pretrained()
            converted = method.state_dict() | converted
        fit(method, converted, "its parameters")
    return Placed(sha256_file(path), form, whole, names)


def _is_code(name: str) -> bool:
    """Whether a parameter is a fixed position code, which a file of trained parameters lacks."""
    return name.endswith("positional_embedding")


def _state(checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    inner = checkpoint.get("state_dict")
    form = "flat" if inner is None else "state_dict"
    entries = checkpoint if inner is None else inner
    if not isinstance(entries, Mapping):
        raise MissingResourceError(f"a {type(entries).__name__} where parameters should be.")
    tensors = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    return form, {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in strip_prefixes(tensors, ("module.",)).items()
    }


def _advice(segmenter: nn.Module, strange: list[str]) -> str:
    if any(".head." in name and "lora_" in name for name in strange):
        return "It adapts SigLIP's pooling head: set model.options.official."
    if any("backbone.model.vision_encoder" in name for name in strange) and not isinstance(segmenter, SamHF):
        return "It is of SAM v1: set segmenter to its size and segmenter_library to transformers."
    return "It is of another variant."
