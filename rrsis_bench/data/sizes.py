"""Bins of object size, as the object's share of the image's area."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE_EDGES = (0.0025, 0.01, 0.04, 0.16)
"""Upper bounds of all bins but the last."""
SIZE_NAMES = ("<0.25%", "0.25-1%", "1-4%", "4-16%", ">16%")


def size_bins(shares: ArrayLike) -> NDArray[np.intp]:
    """The bin of each share.

    A share on an edge belongs to the larger bin, except 16 %: the largest bin is "more than 16 %".

    Args:
        shares: (N,) area of the object over area of the image.

    Returns:
        (N,) index into `SIZE_NAMES`.
    """
    shares = np.asarray(shares, np.float64)
    bins = np.searchsorted(np.array(SIZE_EDGES), shares, side="right")
    bins[shares == SIZE_EDGES[-1]] = len(SIZE_EDGES) - 1
    return bins
