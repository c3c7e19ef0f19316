"""Released RS2-SAM2 checkpoints: official parameter names and ours.

A name without a place, on either side, is an error that names it; the authors' own import skips them in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.encoders.sam import Rules, rename
from rrsis_bench.nn.encoders.sam2 import MEMORY, from_authors
from rrsis_bench.nn.weights.files import few, fit, load_tensors, naming_the_file, strip_prefixes
from rrsis_bench.nn.weights.refs import sha256_file

VISUAL = "visual_model."
POINTS = "sam_prompt_encoder.point_embeddings."
HERE: Mapping[str, str] = {
    "mm_extractor.beit3.": "beit3.",
    "vmtoken.multihead_attn.": "generator.read_image.attention.",
    "mask_linear.": "generator.linear.",
    "mask_product.": "generator.product.",
    "text_hidden_fcs.0.": "sparse.",
    "text_feat_linear.": "words.",
    "text2one_linear.": "edge.",
    "visual_model.sam_mask_decoder.vlfusion_module.multihead_attn.": "fusion.attention.",
}
IDLE = re.compile(rf"visual_model\.(?=(?:{'|'.join(MEMORY)}))|(?=meo_linear\.)")
ADAPTERS: Rules = (
    (r"\.Space_Adapter\.", ".space_adapter."),
    (r"\.MLP_Adapter\.", ".mlp_adapter."),
    (r"\.D_fc1\.", ".down."),
    (r"\.D_fc2\.", ".up."),
    (r"\.text_(in|out)_linear\.", r".text_\1."),
    (r"\.vlfusion_module\.multihead_attn\.", ".read_words.attention."),
    (r"\.lvfusion_module\.multihead_attn\.", ".read_image.attention."),
)


def convert(official: Mapping[str, Tensor], keep_idle: bool) -> dict[str, Tensor]:
    """Official parameters under our names.

    Args:
        official: values by official name.
        keep_idle: whether the network has the parts that never run; they are left out otherwise.

    Raises:
        MissingResourceError: a name has no place; the message names the first few.
    """
    converted: dict[str, Tensor] = {}
    visual: dict[str, Tensor] = {}
    strange: list[str] = []
    for name, value in official.items():
        prefix = next((one for one in HERE if name.startswith(one)), None)
        if prefix is not None:
            converted[HERE[prefix] + name.removeprefix(prefix)] = value
        elif idle := IDLE.match(name):
            if keep_idle:
                converted[f"idle.{name[idle.end() :]}"] = value
        elif name.startswith(VISUAL):
            visual[rename(name.removeprefix(VISUAL), ADAPTERS)] = value
        else:
            strange.append(name)
    if strange:
        raise MissingResourceError(f"no RS2-SAM2 checkpoint: cannot place {few(strange)}.")
    segmenter = from_authors(visual, "its parameters")
    return converted | {f"sam.{name}": value for name, value in segmenter.items()}


def load_official(method: Method, path: Path, keep_idle: bool) -> str:
    """Load a released checkpoint into an RS2-SAM2 of the same size, strictly.

    Args:
        method: an `RS2SAM2`.
        path: the checkpoint, with the names of `save_pretrained` or those of the training's own file.
        keep_idle: see `convert`.

    Returns:
        sha256 of the file.

    Raises:
        MissingResourceError: the file is missing or unreadable, or names or shapes differ.
    """
    with naming_the_file(path):
        tensors = strip_prefixes(load_tensors(path), ("module.", "evf_model."))
        official = {name: x.to(torch.float32) if x.is_floating_point() else x for name, x in tensors.items()}
        fit(method, convert(official, keep_idle), "its parameters")
    return sha256_file(path)
