"""Every choice of SAM 3, and the sizes of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rrsis_bench.errors import UsageError

Network = Literal["sam3", "nano"]
_SMALL = {"hidden_size": 48, "num_attention_heads": 4, "initializer_range": 0.08}
NETWORKS: Mapping[Network, Mapping[str, Any]] = {
    "sam3": {},
    # For the tiny variant: the encoders are as large as the suite's `clip-nano`, from which they start. It knows no
    # rotary positions, and with windows of 0 the library turns nothing. The others start with a deviation that suits
    # their width. The pyramid's finest level has a quarter of the image's side.
    "nano": {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 96,
                "intermediate_size": 384,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "image_size": 128,
                "patch_size": 8,
                "window_size": 0,
                "global_attn_indexes": [],
                "pretrain_image_size": 128,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-5,
            },
            "fpn_hidden_size": 48,
            "scale_factors": [2.0, 1.0, 0.5],
            "initializer_range": 0.08,
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": 64,
            "hidden_size": 64,
            "intermediate_size": 256,
            "projection_dim": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "hidden_act": "quick_gelu",
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        "geometry_encoder_config": {**_SMALL, "num_layers": 1, "intermediate_size": 96},
        "detr_encoder_config": {**_SMALL, "num_layers": 2, "intermediate_size": 192, "dropout": 0.0},
        "detr_decoder_config": {
            **_SMALL, "num_layers": 1, "num_queries": 10, "intermediate_size": 192, "dropout": 0.0,
        },
        "mask_decoder_config": {**_SMALL, "num_upsampling_stages": 1},
        "initializer_range": 0.08,
    },
}  # fmt: skip
"""Name of a network -> where its configuration differs from the library's default."""


@dataclass(frozen=True)
class SAM3Options:
    """The defaults are the published network, tuned with LoRA on the semantic map.

    Attributes:
        policy: `zero-shot` takes the weights as they are; `tuned` trains.
        network: which network, by a name of `NETWORKS`. A local folder in `network_weights` brings its own
            configuration.
        network_weights: weights of the whole network, or `random`.
        clip_weights: weights of CLIP alone in OpenAI's or open_clip's layout, from which both encoders of a network
            with random weights start; given in place of `network_weights`.
        image_size: side in pixels of the images; None for that of the weights. Positions are rotary, and the pyramid's
            sizes follow.
        merge: the one map of the answer: the mask of the `best` query; the `union` of all queries with a score above
            `score_threshold`, or of the best one if there is none; or the `semantic` map.
        score_threshold: see `merge`. A score is sigmoid(query's logit) times sigmoid(presence logit).
        prompt: the whole `expression`, or its `object` words: SAM 3 was trained on noun phrases.
        trained: `lora` in the vision encoder's attention, with everything behind the encoders; or `all`.
        queries: also train the queries: the one that fits the truth best learns its mask, box and score, and the
            presence token whether there is an object. Without it, the query decoder stays as it is.
        lora_rank: r of the updates of q, k, v and output of the vision encoder.
        lora_alpha: the updates are scaled by lora_alpha / lora_rank.
        tokenizer: name of the tokenizer.
        tokenizer_path: its vocabulary, where it needs one.
        max_tokens: length the token ids are cut or padded to.
    """

    policy: Literal["zero-shot", "tuned"] = "tuned"
    network: Network = "sam3"
    network_weights: str = ""
    clip_weights: str = ""
    image_size: int | None = None
    merge: Literal["best", "union", "semantic"] = "semantic"
    score_threshold: float = 0.5
    prompt: Literal["expression", "object"] = "expression"
    trained: Literal["lora", "all"] = "lora"
    queries: bool = False
    lora_rank: int = 16
    lora_alpha: float = 16.0
    tokenizer: str = "clip"
    tokenizer_path: str | None = None
    max_tokens: int = 32

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: naming the options and what to set instead.
        """
        if self.policy == "tuned" and self.merge != "semantic" and not self.queries:
            raise UsageError(f"sam3: merge {self.merge} answers with queries; train them with queries: true.")
        if self.clip_weights and (self.network_weights or self.policy == "zero-shot"):
            raise UsageError("sam3: clip_weights starts a training, in place of network_weights; set one of them.")
