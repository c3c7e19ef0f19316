"""Small detectors of the library with BERT's or CLIP's own vocabulary, and a small SAM, saved as the hub has them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from baselines.groundedsam.options import DETECTORS
from rrsis_bench.nn.encoders.build import build_segmenter
from rrsis_bench.nn.weights.refs import BERT_VOCABULARIES, on_disk

SIDE = 128
SWIN: dict[str, Any] = {
    "model_type": "swin", "image_size": SIDE, "patch_size": 4, "embed_dim": 24, "depths": [2, 2, 2],
    "num_heads": [1, 2, 4], "window_size": 8, "drop_path_rate": 0.0, "out_indices": [2, 3], "initializer_range": 0.08,
}  # fmt: skip
"""The published detectors' kind of backbone."""
VOCABULARY = on_disk(BERT_VOCABULARIES[0])
"""BERT's vocabulary, which the extra `lite` brings."""


def small_detector(kind: str = "GroundingDino", **changes: Any) -> Any:
    """A detector with Swin at the tiny variant's sizes, random weights, scores spread over queries."""
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = deepcopy(dict(DETECTORS["mm-grounding-dino-nano"].values))
    sizes |= {"backbone_config": dict(SWIN), "init_std": 0.02, **changes}
    sizes["text_config"] |= {"vocab_size": 30_522, "max_position_embeddings": 256}
    sizes["max_text_len"] = 256
    config = getattr(transformers, f"{kind}Config")(**sizes)
    return getattr(transformers, f"{kind}ForObjectDetection")(config).eval()


def saved(folder: Path, network: Any) -> Path:
    """A folder that `save_pretrained` wrote."""
    network.save_pretrained(folder)
    return folder


def saved_sam(file: Path) -> Path:
    """The small SAM's weights in a file, its library's layout."""
    torch.manual_seed(1)
    torch.save(build_segmenter("sam-nano").network.state_dict(), file)
    return file
