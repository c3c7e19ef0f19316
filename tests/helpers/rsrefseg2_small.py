"""RSRefSeg 2 at small sizes, with the published or another pair of encoders, and batches for it."""

from __future__ import annotations

from typing import Any

import torch

from baselines.rsrefseg2 import RSRefSeg2
from helpers.batches import noise_batch
from helpers.noise import add_noise
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, TextTokens

SMALL: dict[str, Any] = {
    "dual": "siglip2-nano",
    "segmenter": "sam2.1-nano",
    "dual_weights": "random",
    "segmenter_weights": "random",
    "max_tokens": 12,
    "lora_rank": 2,
    "lora_alpha": 2.0,
    "heads": 4,
    "inner": 16,
    "hidden": 16,
}


def small(seed: int = 0, **changes: Any) -> RSRefSeg2:
    """A network with noise on its trainable parameters: zeros would hide the layers behind them."""
    torch.manual_seed(seed)
    method = RSRefSeg2.from_options(SMALL | changes)
    add_noise(trainable(method.parameters()))
    return method


def make_batch(lengths: tuple[int, ...] = (4, 9, 6), side: int = 64, tokens: int = 12, seed: int = 5) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    count = len(lengths)
    mask = torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(3, 60, (count, tokens), generator=draw) * mask
    return noise_batch(ids, mask, side, draw)


def alone(batch: Batch, index: int) -> Batch:
    """One sample of a batch, with the batch's padding."""
    pick = slice(index, index + 1)
    return Batch(
        images=batch.images[pick],
        masks=batch.masks[pick],
        tokens=TextTokens(batch.tokens.ids[pick], batch.tokens.mask[pick]),
        texts=batch.texts[pick],
        categories=batch.categories[pick],
        sample_ids=batch.sample_ids[pick],
        image_ids=batch.image_ids[pick],
        indices=batch.indices[pick],
    )
