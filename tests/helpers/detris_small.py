"""A small DETRIS and random batches for it."""

from __future__ import annotations

from typing import Any

import torch

from baselines.detris import DETRIS
from rrsis_bench.types import Batch, TextTokens

SMALL: dict[str, Any] = {
    "image_size": 32,
    "visual_weights": "random",
    "text_weights": "random",
    "vit_width": 48,
    "vit_depth": 4,
    "vit_heads": 3,
    "vit_patch": 8,
    "vit_grid": 5,
    "text_width": 32,
    "text_depth": 3,
    "text_heads": 2,
    "text_vocabulary": 50,
    "text_context": 40,
    "sentence_width": 24,
    "visual_layers": (1, 3),
    "text_layers": (1, 2),
    "taps": (1, 2),
    "visual_bottleneck": 16,
    "text_bottleneck": 16,
    "cross_width": 16,
    "visual_adapter_heads": 4,
    "width": 32,
    "heads": 4,
    "ffn": 32,
    "decoder_layers": 1,
}
END = 49
"""The highest id of the small vocabulary, which ends every sentence as in CLIP."""


def small(seed: int = 0, **changes: Any) -> DETRIS:
    """A small network with random weights and the released options."""
    torch.manual_seed(seed)
    return DETRIS.from_options({**SMALL, **changes})


def batch_of(lengths: tuple[int, ...] = (5, 9, 3), tokens: int = 12, seed: int = 0, size: int = 32) -> Batch:
    """Random images and words. A seed gives the same words for any padding."""
    draw = torch.Generator().manual_seed(seed)
    n = len(lengths)
    ends = torch.tensor(lengths) - 1
    words = torch.randint(3, END, (n, 40), generator=draw)[:, :tokens]
    words[torch.arange(n), ends] = END
    mask = torch.arange(tokens)[None] <= ends[:, None]
    images = torch.randn(n, 3, size, size, generator=draw)
    masks = (torch.rand(n, size, size, generator=draw) > 0.7).to(torch.uint8)
    names = tuple(str(i) for i in range(n))
    tokened = TextTokens(torch.where(mask, words, 0), mask)
    return Batch(images, masks, tokened, names, names, names, names, torch.arange(n))
