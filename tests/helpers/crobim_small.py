"""A small CroBIM-style network, and a batch for it."""

from __future__ import annotations

from typing import Any

import torch

from baselines.crobim import CroBIM
from rrsis_bench.types import Batch, TextTokens

SMALL: dict[str, Any] = {
    "image_size": 64,
    "swin_width": 8,
    "swin_depths": [1, 1, 1, 1],
    "swin_heads": [1, 2, 4, 8],
    "swin_window": 4,
    "drop_path": 0.0,
    "tokenizer": "tiny",
    "max_tokens": 12,
    "text_width": 16,
    "text_layers": 2,
    "text_heads": 2,
    "text_vocabulary": 60,
    "text_positions": 40,
    "trained_text_layers": 2,
    "train_text_embeddings": True,
    "capm_grid": 3,
    "capm_heads": 2,
    "width": 16,
    "heads": 4,
    "ffn": 32,
    "lgfa_layers": 2,
    "mid_layers": 2,
}


def small(wake: float = 0.05, **changes: Any) -> CroBIM:
    """A small network. `wake` adds noise to every parameter: zeros would hide the layers behind them."""
    torch.manual_seed(0)
    method = CroBIM.from_options({**SMALL, **changes})
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=wake)
    return method.eval()


def batch_of(lengths: tuple[int, ...] = (5, 9, 3), tokens: int = 12, size: tuple[int, int] = (64, 64)) -> Batch:
    draw = torch.Generator().manual_seed(0)
    n = len(lengths)
    mask = torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(3, 60, (n, 40), generator=draw)[:, :tokens] * mask
    images = torch.randn(n, 3, *size, generator=draw)
    masks = (torch.rand(n, *size, generator=draw) > 0.7).to(torch.uint8)
    names = tuple(str(i) for i in range(n))
    return Batch(images, masks, TextTokens(ids, mask), names, names, names, names, torch.arange(n))
