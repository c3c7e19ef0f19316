"""CLIP's tensors in OpenAI's and open_clip's layout as the start of SAM 3's two encoders.

SAM 3's own encoders come from a CLIP, too (Perception Encoder).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rrsis_bench.nn.encoders.clip import OPENAI_INPUT
from rrsis_bench.nn.encoders.clip_dual import split_attention
from rrsis_bench.nn.encoders.sam import Rules, rename

VISION: Rules = (
    (r"^conv1\.", "embeddings.patch_embeddings.projection."),
    (r"^positional_embedding$", "embeddings.position_embeddings"),
    (r"^ln_pre\.", "layer_norm."),
    (r"^transformer\.resblocks\.", "layers."),
    (r"\.attn\.out_proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
)
TEXT: Rules = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"\.attn\.", ".self_attn."),
)
BOTH: Rules = (
    (r"(layers\.\d+)\.ln_(\d)\.", r"\1.layer_norm\2."),
    (r"(layers\.\d+\.mlp)\.c_fc\.", r"\1.fc1."),
    (r"(layers\.\d+\.mlp)\.c_proj\.", r"\1.fc2."),
)
UNUSED = ("logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size", "attn_mask")
UNREAD = ("class_embedding", "ln_post.weight", "ln_post.bias", "proj")
"""SAM 3's vision encoder has no class token, and its pyramid reads the last block without a norm."""


def from_open_clip(
    tensors: Mapping[str, Tensor], mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of SAM 3's vision backbone and of its text encoder, by the library's names.

    Args:
        tensors: CLIP's values by name.
        mean: of the images that SAM 3 reads; the patch embedding is made to fit.
        std: likewise.
    """
    plain = {name.removeprefix("text."): value for name, value in tensors.items() if not name.endswith(UNUSED)}
    split = split_attention(plain)
    text = {rename(name, (*TEXT, *BOTH)): value for name, value in split.items() if not name.startswith("visual.")}
    if "text_projection.weight" in text:
        text["text_projection.weight"] = text["text_projection.weight"].T
    seen = {name.removeprefix("visual."): value for name, value in split.items() if name.startswith("visual.")}
    vision = {rename(name, (*VISION, *BOTH)): value for name, value in seen.items() if name not in UNREAD}
    kernel, places = "embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings"
    if kernel in vision and places in vision:
        # CLIP reads (x - m) / s of a pixel x, and SAM 3 gets (x - mean) / std: a factor and a constant.
        m, s = (torch.tensor(OPENAI_INPUT[key])[:, None, None] for key in ("mean", "std"))
        factor = torch.tensor(std)[:, None, None] / s
        constant = (torch.tensor(mean)[:, None, None] - m) / s
        shift = (vision[kernel] * constant).sum((1, 2, 3))
        vision[places] = vision[places][None, 1:] + shift
        vision[kernel] = vision[kernel] * factor
    return vision, text
