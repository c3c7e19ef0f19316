"""Batches with native truths, and batches of noise."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from rrsis_bench.types import Batch, TextTokens


def make_batch(sizes, seed=0, junk=False):
    rng = np.random.default_rng(seed)
    n, high, wide = len(sizes), max(h for h, _ in sizes), max(w for _, w in sizes)
    truths = rng.integers(0, 2, (n, high, wide), dtype=np.uint8)
    if not junk:
        for truth, (h, w) in zip(truths, sizes, strict=True):
            truth[h:], truth[:, w:] = 0, 0
    names = tuple(f"s{i}" for i in range(n))
    return Batch(
        images=torch.zeros(n, 3, 32, 32),
        masks=torch.zeros(n, 32, 32, dtype=torch.uint8),
        tokens=TextTokens(torch.zeros(n, 2, dtype=torch.int64), torch.ones(n, 2, dtype=torch.bool)),
        texts=names,
        categories=("",) * n,
        sample_ids=names,
        image_ids=names,
        indices=torch.arange(n),
        truths=torch.from_numpy(truths),
        sizes=tuple(sizes),
    )


def noise_batch(ids, mask, side, draw):
    """A training batch of noise for token ids (B, L), drawn from a generator."""
    count = len(ids)
    names = tuple(f"name {k}" for k in range(count))
    return Batch(
        images=torch.randn(count, 3, side, side, generator=draw),
        masks=(torch.rand(count, side, side, generator=draw) > 0.8).byte(),
        tokens=TextTokens(ids, mask),
        texts=names,
        categories=names,
        sample_ids=names,
        image_ids=names,
        indices=torch.arange(count),
    )


def smooth_logits(n, h, w, seed=0):
    noise = torch.randn(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3
    return F.interpolate(noise, size=(h, w), mode="bicubic", align_corners=False)
