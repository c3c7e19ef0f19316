"""Exact nearest: the rule by which this project resizes all masks. `nn.layers.nearest` applies it to tensors.

The rule is PIL's. torch's `nearest-exact` computes in float32 and picks other pixels at some sizes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1024)
def nearest_index(source: int, target: int) -> NDArray[np.int64]:
    """Tell which source pixel each target pixel shows when a line of pixels is resized.

    Args:
        source: pixels in the line.
        target: pixels wanted.

    Returns:
        (target,) indices, 0 to source - 1; read-only.
    """
    step = source / target
    # PIL sums the centres up step by step. If a centre falls on a border (512 -> 480), a product rounds differently.
    centres = np.add.accumulate(np.concatenate([[step * 0.5], np.full(target - 1, step)]))
    index = np.minimum(centres.astype(np.int64), source - 1)
    index.setflags(write=False)
    return index


def resize_mask(mask: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a mask (H, W) to `size` = (height, width); a mask of that size is returned itself."""
    if mask.shape == size:
        return mask
    resized: NDArray[Any] = mask.take(nearest_index(mask.shape[0], size[0]), axis=0)
    return resized.take(nearest_index(mask.shape[1], size[1]), axis=1)
