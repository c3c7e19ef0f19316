"""Released RSRefSeg 2 names for ours: the inverse of the method's name map, written independently of it.

The prompter's steps are listed in the order of their execution: an attention or MLP, then its norm.
"""

from __future__ import annotations

import re

_A = (
    ("own1", "self_attn_query_query1", "norm_query1_1"),
    ("own2", "self_attn_query_query2", "norm_query2_1"),
    ("words1", "cross_attn_query_text_query1_text", "norm_query1_2"),
    ("words1_feed", "mlp_query1_2", "norm_query1_3"),
    ("words2", "cross_attn_query_text_query2_text", "norm_query2_2"),
    ("words2_feed", "mlp_query2_2", "norm_query2_3"),
    ("other1", "cross_attn_query_query_query1_query2", "norm_query1_4"),
    ("other1_feed", "mlp_query1_3", "norm_query1_5"),
    ("other2", "cross_attn_query_query_query2_query1", "norm_query2_4"),
    ("other2_feed", "mlp_query2_3", "norm_query2_5"),
)
_B = (
    ("own", "self_attn_text_text_1", "norm_text_1"),
    ("image", "cross_attn_img_text_1", "norm_img_1"),
    ("image_feed", "mlp_img_1", "norm_img_2"),
)
_C = (
    ("activate.own", "self_attn_text_1", "norm_text_1"),
    ("activate.image", "cross_attn_img_text_1", "norm_img_1"),
    ("activate.image_feed", "mlp_img_1", "norm_img_2"),
    ("own", "self_attn_prompt_1", "norm_prompt_1"),
    ("text", "cross_attn_prompt_text_1", "norm_prompt_2"),
    ("text_feed", "mlp_prompt_2", "norm_prompt_3"),
    ("image", "cross_attn_prompt_img_1", "norm_prompt_4"),
    ("image_feed", "mlp_prompt_3", "norm_prompt_5"),
)
_STAGES = {
    "split": ("two_queries_text_attn_layers", _A),
    "activate": ("queries1_to_img_attn_layers", _B),
    "read": ("prompt_queries2_img_attn_layers", _C),
}
_WHOLE = {
    "first_position": "text_query_pe_embedding1",
    "second_position": "text_query_pe_embedding2",
    "image_position": "img_pe",
    "prompt_position": "prompt_pe_embedding",
    "prompt_start": "prompt_embedding",
}
_SAM2 = (
    (r"^vision_encoder\.backbone\.", "image_encoder.base_model.model.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.base_model.model.neck.convs.\1.conv."),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (
        r"^prompt_encoder\.shared_embedding\.positional_embedding",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"layer_norm(\d)", r"norm\1"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(mlps\.\d|_head)\.layers\.0", r"\1.layers.1"),
    (r"(mlps\.\d|_head)\.proj_in", r"\1.layers.0"),
    (r"(mlps\.\d|_head)\.proj_out", r"\1.layers.2"),
    (r"mlp\.proj_in", "mlp.layers.0"),
    (r"mlp\.proj_out", "mlp.layers.1"),
    (r"o_proj", "out_proj"),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^no_memory_embedding$", "no_mem_embed"),
)


def official_prompter_name(ours: str) -> str:
    if ours in _WHOLE:
        return _WHOLE[ours]
    if ours.startswith("sparse."):
        return ours.replace("sparse.", "sparse_prompt_mlp.", 1)
    if ours.startswith("dense.conv."):
        return ours.replace("dense.conv.", "dense_prompt_conv.", 1)
    stage, layer, rest = ours.split(".", 2)
    theirs, steps = _STAGES[stage]
    for step, operation, norm in steps:
        match = re.fullmatch(rf"{re.escape(step)}\.(attention|mlp|norm)\.(.+)", rest)
        if match:
            return f"{theirs}.{layer}.{norm if match[1] == 'norm' else operation}.{match[2]}"
    raise AssertionError(ours)


def official_name(ours: str) -> str:
    """The released name of a tensor of the network with SigLIP and SAM 2.1, except the point embeddings."""
    top, rest = ours.split(".", 1)
    if top == "prompter":
        return f"prompter.{official_prompter_name(rest)}"
    if top == "contrast":
        return f"decode_head.{rest.replace('log_scale', 'logit_scale').replace('bias', 'logit_bias')}"
    if top == "dual":
        if rest in ("log_scale", "bias"):
            return f"clip_text_encoder.base_model.model.logit_{rest.removeprefix('log_')}"
        tower, inner = rest.split(".", 1)
        return f"clip_{tower}_encoder.base_model.model.model.{inner}"
    name = rest.removeprefix("network.")
    for pattern, replacement in _SAM2:
        name = re.sub(pattern, replacement, name)
    return f"backbone.model.{name}"
