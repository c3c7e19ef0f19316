"""A BTDNet-style network small enough for tests."""

from __future__ import annotations

from typing import Any

import torch

from baselines.btdnet import BTDNet
from rrsis_bench.methods.contract import Subject, random_batch
from rrsis_bench.types import Batch

SMALL: dict[str, Any] = {
    "image_size": 64,
    "swin_width": 16,
    "swin_depths": [1, 1, 1, 1],
    "swin_heads": [1, 2, 4, 8],
    "swin_window": 4,
    "drop_path": 0.0,
    "tokenizer": "tiny",
    "max_tokens": 12,
    "text_width": 16,
    "text_layers": 2,
    "text_heads": 2,
    "text_vocabulary": 64,
    "text_positions": 16,
    "trained_text_layers": 1,
    "head_width": 8,
    "decoder_width": 16,
    "rebuild_width": 16,
    "rebuild_layers": 1,
    "rebuild_heads": 2,
}


def small(**options: Any) -> BTDNet:
    """A network with noise on its parameters: parameters that start at zero would hide the layers behind them."""
    built = Subject(lambda: BTDNet.from_options(SMALL | options)).seeded()
    assert isinstance(built, BTDNet)
    return built


def plain(**options: Any) -> BTDNet:
    torch.manual_seed(0)
    return BTDNet.from_options(SMALL | options)


def batch_for(method: BTDNet, n: int = 2, seed: int = 0) -> Batch:
    texts = ("the red ship", "a white airplane on the left", "the bridge", "the largest storage tank")
    return random_batch(method.input_spec, [texts[i % 4] for i in range(n)], seed)
