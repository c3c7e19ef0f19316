"""Sampling error: percentile intervals by resampling images.

Expressions of one image are not independent, so whole images are drawn with replacement (cluster bootstrap; Davison and
Hinkley 1997, section 3.8). Every metric is a ratio of sums over samples, so a resample needs only the sums per image
and how often each image was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.functional import METRICS, Counts, sample_values
from rrsis_bench.metrics.protocols import EmptyUnion, get

RESAMPLES = 10_000
SEED = 20_240_501
LEVEL = 0.95
_CHUNK = 250

Interval = tuple[float, float] | None


def resample_sums(
    values: NDArray[np.float64], clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """Sums of columns in each resample of the clusters.

    The sums are exact, and so the same on every machine: the order in which a BLAS adds differs between processors.

    Args:
        values: (N, K) values of the samples. Those of a cluster are added and rounded to some 2^-53 of the largest sum.
        clusters: N cluster names, such as image ids.
        resamples: how many resamples R.
        seed: of the draws, which depend on it and on the number of clusters only.

    Returns:
        (R, K) sums.
    """
    _, membership = np.unique(np.asarray(clusters), return_inverse=True)
    n_clusters = int(membership.max()) + 1
    sums = np.zeros((n_clusters, values.shape[1]))
    np.add.at(sums, membership, values)
    sums = exactly_summable(sums)
    rng = np.random.default_rng(seed)
    result = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n_clusters, (size, n_clusters)) + np.arange(size)[:, None] * n_clusters
        times = np.bincount(drawn.ravel(), minlength=size * n_clusters).reshape(size, n_clusters)
        result[start : start + size] = times.astype(np.float64) @ sums
    return result


def exactly_summable(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (C, K) rounded to a power of two for each column, of which any C draws add up without further rounding."""
    largest = len(sums) * np.where(np.isnan(sums), 0, np.abs(sums)).max(axis=0)
    step = np.exp2(np.frexp(largest)[1] - 53)  # every sum is a whole multiple of it, and at most 2^53 times as large
    rounded: NDArray[np.float64] = np.round(sums / step) * step
    return rounded


def _columns(counts: Counts, protocol: str) -> NDArray[np.float64]:
    """(N, K): the per-sample values of every mean metric, then intersection and union."""
    values = sample_values(counts, protocol)
    truth, pred, inter = counts.T
    means = [values[name] for name in METRICS if name != "oiou"]
    return np.stack([*means, inter.astype(np.float64), (truth + pred - inter).astype(np.float64)], axis=1)


def intervals(
    counts: dict[str, Counts], clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, dict[str, Interval]]:
    """95 % percentile intervals of every metric under every protocol, all from the same resamples.

    Args:
        counts: protocol name -> (N, 3) counts.
        clusters: image id of each sample.
        resamples: how many resamples.
        seed: of the draws.

    Returns:
        protocol name -> metric -> (low, high); None where there is no interval: fewer than two images, or a NaN.
    """
    blocks = {name: _columns(rows, name) for name, rows in counts.items()}
    if len(set(clusters)) < 2:
        return {name: dict.fromkeys(METRICS) for name in counts}
    ones = np.ones((len(clusters), 1))
    sums = resample_sums(np.concatenate([*blocks.values(), ones], axis=1), clusters, resamples, seed)
    drawn = sums[:, -1]
    found: dict[str, dict[str, Interval]] = {}
    start = 0
    means = [name for name in METRICS if name != "oiou"]
    for name, block in blocks.items():
        part = sums[:, start : start + block.shape[1]]
        start += block.shape[1]
        spread = {metric: part[:, i] / drawn for i, metric in enumerate(means)}
        spread["oiou"] = overall(part[:, -2], part[:, -1], get(name).empty_union)
        found[name] = {metric: percentile_interval(spread[metric]) for metric in METRICS}
    return found


def overall(inter: NDArray[np.float64], union: NDArray[np.float64], empty: EmptyUnion) -> NDArray[np.float64]:
    """Overall IoU of each resample from its summed intersections and unions; `empty` says what a union of 0 gives."""
    value = {"one_if_both_empty": 1.0, "zero": 0.0, "nan": np.nan}[empty]
    result = np.full(len(inter), value)
    np.divide(inter, union, out=result, where=union > 0)
    return result


def percentile_interval(spread: NDArray[np.float64]) -> Interval:
    """The middle 95 % of a metric's values in the resamples (R,); None if one of them is NaN."""
    if np.isnan(spread).any():
        return None
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
