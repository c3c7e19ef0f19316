"""CLIP's tensors in OpenAI's and open_clip's layout under transformers' names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from baselines.clipseg.text import LAST, TINY_END
from rrsis_bench.nn.encoders.clip_dual import split_attention
from rrsis_bench.nn.encoders.sam import Rules, rename

RULES: Rules = (
    (r"^visual\.(class_embedding)$", r"vision_model.embeddings.\1"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^(token_embedding)\.", r"text_model.embeddings.\1."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"(layers\.\d+)\.ln_(\d)\.", r"\1.layer_norm\2."),
    (r"(layers\.\d+)\.attn\.", r"\1.self_attn."),
    (r"(layers\.\d+\.mlp)\.c_fc\.", r"\1.fc1."),
    (r"(layers\.\d+\.mlp)\.c_proj\.", r"\1.fc2."),
)
"""open_clip's names -> transformers'."""
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
UNUSED = ("logit_bias", "input_resolution", "context_length", "vocab_size", "attn_mask")
EMBEDDING = "text_model.embeddings.token_embedding.weight"


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's tensors by transformers' names; a name without a rule stays as it is.

    In the suite's tiny vocabulary, the end token's row moves to `LAST`.
    """
    plain = {name.removeprefix("text."): value for name, value in tensors.items() if not name.endswith(UNUSED)}
    converted = {rename(name, RULES): value for name, value in split_attention(plain).items()}
    for name in TRANSPOSED:
        if name in converted:
            converted[name] = converted[name].T
    if "logit_scale" in converted:
        converted["logit_scale"] = converted["logit_scale"].reshape(())
    if EMBEDDING in converted and len(converted[EMBEDDING]) == LAST + 1:
        converted[EMBEDDING] = converted[EMBEDDING].clone()
        converted[EMBEDDING][LAST] = converted[EMBEDDING][TINY_END]
    return converted
