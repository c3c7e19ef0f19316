"""A small SAM 3 with CLIP's own vocabulary, and the library's processor for it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from baselines.sam3.options import NETWORKS
from helpers.clipseg_small import clip_tokenizer

SIDE = 128


def small_network() -> Any:
    """The library's network at the tiny variant's sizes with CLIP's vocabulary and random weights."""
    from transformers import Sam3Config, Sam3Model

    torch.manual_seed(0)
    sizes: dict[str, Any] = deepcopy(dict(NETWORKS["nano"]))
    sizes["text_config"] |= {"vocab_size": 49_408, "bos_token_id": 49_406, "eos_token_id": 49_407, "pad_token_id": 1}
    # Windows, rotary positions and four levels, as in the published network.
    sizes["vision_config"]["scale_factors"] = [4.0, 2.0, 1.0, 0.5]
    sizes["vision_config"]["backbone_config"] |= {"window_size": 8, "global_attn_indexes": [1, 3]}
    sizes["mask_decoder_config"]["num_upsampling_stages"] = 3
    network = Sam3Model(Sam3Config(**sizes)).eval()
    with torch.no_grad():
        # Scores of a random start are all alike: spread them, so that a threshold tells queries apart.
        network.dot_product_scoring.query_proj.weight.mul_(20)
        network.detr_decoder.query_embed.weight.mul_(20)
        network.detr_decoder.presence_head.layer3.bias.add_(3)
    return network


def saved(folder: Path) -> Path:
    """A folder that `save_pretrained` wrote."""
    small_network().save_pretrained(folder)
    return folder


def processor() -> Any:
    """The library's processor at the small network's size."""
    from transformers import Sam3ImageProcessor, Sam3Processor

    return Sam3Processor(Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}), clip_tokenizer())
