"""A small CLIPSeg with CLIP's own vocabulary, and the library's processor for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SIDE = 64


def small_network() -> Any:
    """The library's network at small sizes, random weights; its logits are of order 1."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config=tower,
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=16,
        decoder_intermediate_size=32,
    )
    network = CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        for name, parameter in network.decoder.named_parameters():
            if parameter.ndim > 1 and "layers." not in name:
                parameter.mul_(parameter[0].numel() ** -0.5)
    return network


def saved(folder: Path) -> Path:
    """A folder that `save_pretrained` wrote."""
    small_network().save_pretrained(folder)
    return folder


def clip_tokenizer() -> Any:
    """The library's CLIP tokenizer, made from the vocabulary inside open_clip's wheel."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    own = SimpleTokenizer()
    merges = [" ".join(pair) for pair, _ in sorted(own.bpe_ranks.items(), key=lambda entry: entry[1])]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in own.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(merge.split()) for merge in merges])
