"""Sampling error: percentile intervals by resampling images.

Expressions of one image are not independent, so whole images are drawn with replacement (cluster bootstrap; Davison and
Hinkley 1997, section 3.8). Every metric is a ratio of sums over samples. A resample therefore needs only the sums per
image and how often each image was drawn.

Shape legend: `N` samples, `C` clusters (images), `K` columns, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.areas import Areas, Counts
from rrsis_bench.metrics.definitions import metrics_of
from rrsis_bench.stats.exact import sums_by_cluster

RESAMPLES = 10_000
SEED = 20_240_501
LEVEL = 0.95
_CHUNK = 250

Interval = tuple[float, float] | None


def resample(
    blocks: Sequence[NDArray[np.float64]], clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Sum columns in each resample of the clusters, all columns in the same resamples.

    Processors add in different orders. The sums are exact, and hence the same on every machine: see `exactly_summable`.

    Args:
        blocks: (N, K) values of the samples; blocks may differ in K.
        clusters: N cluster names, such as image ids.
        resamples: how many resamples R.
        seed: of the draws, which depend on it and on the number of clusters only.

    Returns:
        for each block its sums (R, K), and the number of samples drawn (R,). Clusters of different sizes make it vary.
    """
    values = np.concatenate([*blocks, np.ones((len(clusters), 1))], axis=1)
    sums = exactly_summable(sums_by_cluster(values, clusters))
    n_clusters = len(sums)
    rng = np.random.default_rng(seed)
    result = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n_clusters, (size, n_clusters)) + np.arange(size)[:, None] * n_clusters
        times = np.bincount(drawn.ravel(), minlength=size * n_clusters).reshape(size, n_clusters)
        result[start : start + size] = times.astype(np.float64) @ sums
    ends = np.cumsum([block.shape[1] for block in blocks])
    return [(part, result[:, -1]) for part in np.split(result[:, :-1], ends[:-1], axis=1)]


def exactly_summable(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round sums (C, K) to a power of two for each column; any C draws of them then add up without rounding."""
    largest = len(sums) * np.where(np.isnan(sums), 0, np.abs(sums)).max(axis=0)
    step = np.exp2(np.frexp(largest)[1] - 53)  # every sum is a whole multiple of it, and at most 2^53 times as large
    rounded: NDArray[np.float64] = np.round(sums / step) * step
    return rounded


def intervals(
    counts: Mapping[str, Counts], clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, dict[str, Interval]]:
    """Compute 95 % percentile intervals of every metric under every protocol, all from the same resamples.

    Args:
        counts: protocol name -> (N, 3) counts.
        clusters: image id of each sample.
        resamples: how many resamples.
        seed: of the draws.

    Returns:
        protocol name -> metric -> (low, high); None where there is no interval: fewer than two images, or a NaN.
    """
    if len(set(clusters)) < 2:
        return {name: dict.fromkeys(metrics_of(name)) for name in counts}
    areas = {name: Areas(rows, name) for name, rows in counts.items()}
    wanted = [(name, metric) for name in areas for metric in metrics_of(name).values()]
    spread = resample([metric.columns(areas[name]) for name, metric in wanted], clusters, resamples, seed)
    found: dict[str, dict[str, Interval]] = {name: {} for name in counts}
    for (name, metric), (sums, drawn) in zip(wanted, spread, strict=True):
        found[name][metric.name] = percentile_interval(metric.of_sums(sums, drawn, areas[name].protocol))
    return found


def percentile_interval(spread: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of a metric's values in the resamples (R,); None if one of them is NaN."""
    if np.isnan(spread).any():
        return None
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
