"""Exact nearest for tensors: the rule of `rrsis_bench.nearest`, on any device, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from rrsis_bench.nearest import nearest_index


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (..., H, W) to `size` = (height, width); masks of that size are returned themselves."""
    height, width = masks.shape[-2:]
    if (height, width) == size:
        return masks
    rows, columns = _line(height, size[0], masks.device), _line(width, size[1], masks.device)
    return masks.index_select(-2, rows).index_select(-1, columns)


@lru_cache(maxsize=256)
def _line(source: int, target: int, device: torch.device) -> Tensor:
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return index_on(nearest_index(source, target).tolist(), device)


def forget_lines() -> None:
    """Forget the indices kept for sizes seen before."""
    _line.cache_clear()


def index_on(positions: Sequence[int], device: torch.device) -> Tensor:
    """Put positions on the device as an int64 index, through page-locked memory: other copies block the host."""
    index = torch.tensor(positions, dtype=torch.int64)
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index.to(device)
