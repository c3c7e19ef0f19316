"""An exact test for few photographs: exchange two methods on whole photographs in every possible way.

If two methods are equally good, each photograph might have been labelled the other way round. The p value is the share
of all exchanges whose difference is at least the observed one (sign-flip test; Fisher 1935, section 21). With C
photographs it is at least 2 / 2^C, whatever the methods are. A bootstrap of few photographs has no lower bound: with
two, both in favour of A, it gives 2 / 10001.

Shape legend: `N` samples, `C` photographs, `K` columns, `P` exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 6
"""The least number of photographs that is tested. With 5, no p can be below 1/16, which is above .05."""

EXACT_UP_TO = 16
"""The largest number of photographs whose 2^(C - 1) exchanges are all computed. Above, the bootstrap decides."""

TIE = 1e-12
"""Fractions that differ by less are equal but for rounding, such as 1/3 + 2/3 and 1."""


def sums_by_cluster(values: NDArray[np.float64], clusters: Sequence[str]) -> NDArray[np.float64]:
    """Sum values (N, K) over the samples of each cluster: (C, K), by ascending name of the cluster."""
    names, membership = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, membership, values)
    return sums


def exact_p(
    here: NDArray[np.float64], there: NDArray[np.float64], value: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> float | None:
    """Compute the two-sided p value of "no difference between A and B".

    Args:
        here: (C, K) what A's metric sums over the samples of each photograph.
        there: (C, K) the same of B.
        value: the metric (P,) of sums (P, K).

    Returns:
        the share of exchanges whose difference is at least the observed one in size; None where a metric is NaN.
    """
    # Exchanging the others instead gives the same difference with the other sign: the first photograph stays.
    kept = np.arange(2 ** (len(here) - 1))[:, None] >> np.arange(len(here) - 1) & 1
    swapped = np.concatenate([np.zeros((len(kept), 1)), kept], axis=1)
    change = swapped @ (there - here)
    differences = value(here.sum(axis=0) + change) - value(there.sum(axis=0) - change)
    if np.isnan(differences).any():
        return None
    return float(np.mean(np.abs(differences) >= abs(differences[0]) - TIE))
