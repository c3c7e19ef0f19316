"""Shared ranks: a method stands above another only where the difference is more than chance.

The best entry leads the first group. Every other entry is compared with it on the same samples in the same resamples.
Holm's method adjusts the p values of these comparisons. Entries that are not separable from the leader share its rank.
The best of the rest leads the next group, whose rank is one more than the number of entries ranked before it.

Shape legend: `E` entries (methods), `R` resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.stats.bootstrap import LEVEL, RESAMPLES, SEED, Interval, percentile_interval
from rrsis_bench.stats.exact import EXACT_UP_TO, FEWEST, exact_p, sums_by_cluster
from rrsis_bench.stats.paired import RunCounts, bootstrap_p, holm, means, p_value, resampled


@dataclass(frozen=True)
class Placement:
    """Where an entry stands.

    Attributes:
        rank: its place; None where it cannot be ranked.
        interval: 95 % interval over images of the mean over runs; None with fewer than two images, or where it is NaN.
    """

    rank: int | None
    interval: Interval


def rank_groups(
    entries: Mapping[str, Sequence[RunCounts]],
    metric: str = "miou",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Placement]:
    """Rank the entries of one table (one data set, split and kind).

    Most entries of a table were scored on the same samples (ids, images and true areas). Entries of other samples
    cannot be compared with these; neither can those to which the protocol gives no number. Both get no rank. A rank may
    be smaller than that of an entry with a better mean: only a difference from the leader that is more than chance
    counts.

    Args:
        entries: name -> runs (one for each seed), all under one protocol.
        metric: name of the metric to rank by.
        resamples: how many resamples of the images.
        seed: of the draws.

    Returns:
        name -> placement: ranked entries by mean, best first (ties by name), then the others by name.
    """
    common = common_samples(entries)
    values = {name: means(entries[name], [metric])[metric] for name in sorted(entries)}
    order = sorted((name for name in common if not np.isnan(values[name])), key=lambda name: (-values[name], name))
    placed: dict[str, Placement] = {}
    if order:
        several = entries[order[0]][0].n_images > 1
        spread = resampled([entries[name] for name in order], [metric], resamples, seed)[metric] if several else None
        placed = _share({name: entries[name] for name in order}, metric, spread)
    for name in values:
        if name not in placed:
            placed[name] = Placement(None, _interval(entries[name], metric, resamples, seed))
    return placed


def _share(
    entries: Mapping[str, Sequence[RunCounts]], metric: str, spread: NDArray[np.float64] | None
) -> dict[str, Placement]:
    """Rank entries that are sorted by mean; `spread` (E, R) is None where nothing can be resampled."""
    rows = {} if spread is None else dict(zip(entries, spread, strict=True))

    def p(name: str, leader: str) -> float | None:
        return p_value(entries[name], entries[leader], metric, rows[name] - rows[leader]) if rows else None

    ranks = shared_ranks(list(entries), p)
    return {name: Placement(ranks[name], percentile_interval(rows[name]) if rows else None) for name in entries}


def shared_ranks(order: Sequence[str], p_of: Callable[[str, str], float | None]) -> dict[str, int]:
    """Give each entry its rank: those that cannot be told from the best of the rest share one.

    Args:
        order: names, best first.
        p_of: the p value of "no difference" between an entry and a leader; None if there is none.
    """
    ranks: dict[str, int] = {}
    left = list(order)
    while left:
        leader, others = left[0], left[1:]
        rank = 1 + len(order) - len(left)
        p_values = {name: p_of(name, leader) for name in others}
        adjusted = holm({name: p for name, p in p_values.items() if p is not None})
        group = {leader, *(name for name in others if adjusted.get(name, 1.0) > 1 - LEVEL)}
        ranks |= dict.fromkeys(group, rank)
        left = [name for name in left if name not in group]
    return ranks


def ranks_by_sums(
    order: Sequence[str],
    clusters: Sequence[str],
    spread: Mapping[str, NDArray[np.float64]],
    columns: Mapping[str, NDArray[np.float64]],
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> dict[str, int]:
    """Rank entries by any measure of sums over samples, paired over the same N samples.

    Args:
        order: names, best first.
        clusters: N names of photographs.
        spread: name -> (R,) values in the resamples, which decide where there are many photographs.
        columns: name -> (N, K) what the measure sums over samples; the exact test of few photographs exchanges them.
        measure: the values (P,) of sums (P, K).
    """
    count = len(set(clusters))

    def p(name: str, leader: str) -> float | None:
        if count < FEWEST:
            return None
        if count > EXACT_UP_TO:
            return bootstrap_p(spread[name] - spread[leader])
        here, there = (sums_by_cluster(columns[one], clusters) for one in (name, leader))
        return exact_p(here, there, measure)

    return shared_ranks(order, p)


def _interval(runs: Sequence[RunCounts], metric: str, resamples: int, seed: int) -> Interval:
    """Compute the interval of an entry without a rank; None where its own runs are of different samples."""
    if len({_samples_key(run) for run in runs}) != 1 or runs[0].n_images < 2:
        return None
    return percentile_interval(resampled([runs], [metric], resamples, seed)[metric][0])


def _samples_key(run: RunCounts) -> bytes:
    digest = sha256(f"{run.protocol}\0".encode())
    digest.update("\0".join(run.sample_id).encode())
    digest.update("\0".join(run.image_id).encode())
    digest.update(np.ascontiguousarray(run.counts[:, 0]).tobytes())
    return digest.digest()


def common_samples(entries: Mapping[str, Sequence[RunCounts]]) -> set[str]:
    """Name the entries whose runs were all scored on the samples that most entries were scored on."""
    keys = {name: {_samples_key(run) for run in runs} for name, runs in entries.items() if runs}
    votes = Counter(next(iter(own)) for own in keys.values() if len(own) == 1)
    if not votes:
        return set()
    sizes = {_samples_key(run): len(run.sample_id) for runs in entries.values() for run in runs}
    chosen = max(votes, key=lambda key: (votes[key], sizes[key], key))
    return {name for name, own in keys.items() if own == {chosen}}
