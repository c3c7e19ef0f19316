"""Shared ranks: a method stands above another only where the difference is more than chance.

The best entry leads the first group. Every other entry is compared with it on the same samples in the same resamples,
the p values are adjusted by Holm over these comparisons, and all that are not separable from the leader share its rank.
The best of the rest leads the next group, whose rank is one more than the number of entries ranked before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.functional import scores
from rrsis_bench.stats.bootstrap import LEVEL, RESAMPLES, SEED, Interval, percentile_interval
from rrsis_bench.stats.paired import RunCounts, holm, p_value, resampled


@dataclass(frozen=True)
class RankRow:
    """One entry of a ranked table.

    Attributes:
        name: the entry's key.
        rank: its place; None where it cannot be ranked (see `note`).
        n_seeds: number of runs.
        mean: mean of the metric over the runs; None where the protocol gives no number.
        sd: standard deviation over the runs (ddof 1); None for a single run.
        interval: 95 % interval over images of the mean over runs.
        leader: the entry its rank was decided against: the leader of its group, itself if it leads.
        difference: mean less the leader's mean.
        difference_interval: 95 % interval of that difference over images.
        p: two-sided p value of "no difference from the leader".
        p_holm: that, adjusted by Holm over all comparisons with this leader.
        note: why it has no rank; "" if it has one.
    """

    name: str
    rank: int | None
    n_seeds: int
    mean: float | None
    sd: float | None
    interval: Interval
    leader: str | None = None
    difference: float | None = None
    difference_interval: Interval = None
    p: float | None = None
    p_holm: float | None = None
    note: str = ""


def rank_groups(
    entries: Mapping[str, Sequence[RunCounts]],
    metric: str = "miou",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[RankRow]:
    """Rank the entries of one table (one data set, split and kind).

    Entries that were not scored on the samples most of the table was scored on (ids, images and true areas) cannot be
    compared with it; they get their mean and interval, but no rank. A rank may be smaller than that of an entry with a
    better mean: what counts is whether the difference from the leader is more than chance.

    Args:
        entries: name -> runs (one for each seed), all under one protocol. Use `RunCounts.of(table)` or
            `RunCounts.read(folder)`.
        metric: what to rank by, such as `miou` or `oiou`.
        resamples: how many resamples of the images.
        seed: of the draws.

    Returns:
        one row for each entry: ranked ones by mean, best first (ties by name), then those without a rank.
    """
    common = _common_samples(entries)
    ranked: dict[str, RankRow] = {}
    unranked: list[RankRow] = []
    for name in sorted(entries):
        row = _row(name, entries[name], metric)
        if row.mean is None:
            unranked.append(replace(row, note=f"the protocol gives no {metric}"))
        elif name not in common:
            own = len({_samples_key(run) for run in entries[name]}) == 1
            interval = _interval(entries[name], metric, resamples, seed) if own else None
            unranked.append(replace(row, interval=interval, note="scored on other samples than the rest of the table"))
        else:
            ranked[name] = row
    order = sorted(ranked, key=lambda name: (-(ranked[name].mean or 0.0), name))
    if order:
        first = entries[order[0]][0]
        several = len(set(first.image_id)) > 1
        spread = resampled([entries[name] for name in order], [metric], resamples, seed)[metric] if several else None
        _share(order, ranked, spread)
    unranked.sort(key=lambda row: (row.mean is None, -(row.mean or 0.0), row.name))
    return [ranked[name] for name in order] + unranked


def _share(order: Sequence[str], rows: dict[str, RankRow], spread: NDArray[np.float64] | None) -> None:
    """Fill in rank, interval and comparison of every row; `spread` (E, R) is None where nothing can be resampled."""
    place = {name: number for number, name in enumerate(order)}
    left = list(order)
    while left:
        leader, others = left[0], left[1:]
        rank = 1 + len(order) - len(left)
        differences = {} if spread is None else {name: spread[place[name]] - spread[place[leader]] for name in others}
        p_values = {name: value for name, row in differences.items() if (value := p_value(row)) is not None}
        adjusted = holm(p_values)
        group = [leader, *(name for name in others if adjusted.get(name, 1.0) > 1 - LEVEL)]
        for name in group:
            row = rows[name]
            rows[name] = replace(
                row,
                rank=rank,
                interval=None if spread is None else percentile_interval(spread[place[name]]),
                leader=leader,
                difference=(row.mean or 0.0) - (rows[leader].mean or 0.0),
                difference_interval=percentile_interval(differences[name]) if name in differences else None,
                p=p_values.get(name),
                p_holm=adjusted.get(name),
            )
        left = [name for name in left if name not in set(group)]


def _row(name: str, runs: Sequence[RunCounts], metric: str) -> RankRow:
    values = [scores(run.counts, run.protocol)[metric] for run in runs]
    known = not any(np.isnan(values))
    return RankRow(
        name=name,
        rank=None,
        n_seeds=len(runs),
        mean=fmean(values) if known else None,
        sd=stdev(values) if known and len(values) > 1 else None,
        interval=None,
    )


def _interval(runs: Sequence[RunCounts], metric: str, resamples: int, seed: int) -> Interval:
    if len(set(runs[0].image_id)) < 2:
        return None
    return percentile_interval(resampled([runs], [metric], resamples, seed)[metric][0])


def _samples_key(run: RunCounts) -> bytes:
    digest = sha256(f"{run.protocol}\0".encode())
    digest.update("\0".join(run.sample_id).encode())
    digest.update("\0".join(run.image_id).encode())
    digest.update(np.ascontiguousarray(run.counts[:, 0]).tobytes())
    return digest.digest()


def _common_samples(entries: Mapping[str, Sequence[RunCounts]]) -> set[str]:
    """Names of the entries whose runs were all scored on the samples that most entries were scored on."""
    keys = {name: {_samples_key(run) for run in runs} for name, runs in entries.items() if runs}
    votes = Counter(next(iter(own)) for own in keys.values() if len(own) == 1)
    if not votes:
        return set()
    sizes = {_samples_key(run): len(run.sample_id) for runs in entries.values() for run in runs}
    chosen = max(votes, key=lambda key: (votes[key], sizes[key], key))
    return {name for name, own in keys.items() if own == {chosen}}
