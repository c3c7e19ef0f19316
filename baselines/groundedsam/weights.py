"""DINOv2's tensors in timm's layout under transformers' names, for a detector with this backbone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rrsis_bench.nn.encoders.sam import Rules, rename

RULES: Rules = (
    (r"^(cls_token)$", r"embeddings.\1"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"^norm\.", "layernorm."),
)
"""timm's names -> transformers' names, as published files have them; the library converts these."""


def from_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by transformers' names; a name without a rule stays as it is.

    timm adds positions to the patches alone. transformers has one for the class token, too, which is zero then.
    """
    split: dict[str, Tensor] = {}
    for name, value in tensors.items():
        stem, found, kind = name.partition(".qkv.")
        if found:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            split |= {f"{stem}.{part}.{kind}": one for part, one in parts}
        else:
            split[name] = value
    if "pos_embed" in split:
        split["pos_embed"] = torch.cat((torch.zeros_like(split["pos_embed"][:, :1]), split["pos_embed"]), 1)
    if "cls_token" in split:
        split["embeddings.mask_token"] = torch.zeros_like(split["cls_token"][0])  # nothing reads it
    return {rename(name, RULES): value for name, value in split.items()}
