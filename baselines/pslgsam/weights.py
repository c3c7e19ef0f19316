"""Released LQVG checkpoints: official parameter names and ours."""

from __future__ import annotations

from rrsis_bench.nn.weights.name_map import NameMap

_ATTENTION = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
_ENCODER, _DECODER = "transformer.encoder.layers.*", "transformer.decoder.layers.*"

RELEASED = NameMap(
    "LQVG",
    {
        "backbone.*.body": "front.image",
        "input_proj.*": "front.projections.*",
        "text_encoder": "front.text",
        "resizer.fc": "front.word_projection",
        "resizer.layer_norm": "front.word_norm",
        "poolout_module.dense": "sentence",
        "fusion_module_text.multihead_attn": "words_ask",
        "fusion_module.multihead_attn": "cells_ask",
        **{f"{_ENCODER}.self_attn.{part}": f"detector.encoder.*.attention.{part}" for part in _ATTENTION},
        f"{_ENCODER}.norm1": "detector.encoder.*.norm",
        f"{_ENCODER}.linear1": "detector.encoder.*.feed.linear1",
        f"{_ENCODER}.linear2": "detector.encoder.*.feed.linear2",
        f"{_ENCODER}.norm2": "detector.encoder.*.feed.norm",
        **{f"{_DECODER}.cross_attn.{part}": f"detector.decoder.*.attention.{part}" for part in _ATTENTION},
        f"{_DECODER}.self_attn": "detector.decoder.*.own",
        f"{_DECODER}.norm1": "detector.decoder.*.norm",
        f"{_DECODER}.norm2": "detector.decoder.*.own_norm",
        f"{_DECODER}.linear1": "detector.decoder.*.feed.linear1",
        f"{_DECODER}.linear2": "detector.decoder.*.feed.linear2",
        f"{_DECODER}.norm3": "detector.decoder.*.feed.norm",
        "query_embed": "detector.queries",
        "transformer.reference_points": "detector.reference_points",
        "class_embed.*": "detector.score.*",
        "bbox_embed.*.layers.*": "detector.box.*.layers.*",
        "transformer": "detector",
    },
    {
        r"text_encoder\.pooler\..*": "nothing reads the pooler",
        r"text_encoder\.embeddings\.position_ids": "a range",
        r"transformer\.decoder\.bbox_embed\..*": "the same tensors as bbox_embed",
    },
)
