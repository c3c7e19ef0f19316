"""The relative drop of a score under perturbations, with its interval, and ranks by it.

A method's drop under one perturbation is 1 - (its mIoU under it) / (its clean mIoU on the same samples), each a mean
over seeds. Its mean drop is the mean over the perturbations. Both are functions of sums over samples, and are resampled
by photograph as the scores are, all methods in the same resamples.

Shape legend: `N` samples, `C` photographs, `K` perturbations, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.stats.bootstrap import RESAMPLES, SEED, Interval, percentile_interval, resample
from rrsis_bench.stats.paired import RunCounts
from rrsis_bench.stats.ranks import common_samples, ranks_by_sums


@dataclass(frozen=True)
class SeedRuns:
    """One run, clean and perturbed.

    Attributes:
        clean: its integers on the split.
        perturbed: perturbation -> its integers; some samples may be left out.
    """

    clean: RunCounts
    perturbed: Mapping[str, RunCounts]


@dataclass(frozen=True)
class Drop:
    """What perturbations take from a method; None where a number is not defined.

    Attributes:
        rank: its rank group by mean drop, the smallest first; None where it cannot be ranked.
        by: perturbation -> relative drop.
        mean: the mean over the perturbations; None unless the method has all of them.
        interval: 95 % interval of the mean over photographs.
    """

    rank: int | None
    by: Mapping[str, float | None]
    mean: float | None
    interval: Interval


def relative_drops(
    entries: Mapping[str, Sequence[SeedRuns]], names: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Drop]:
    """Compute the drops of all methods of a table, and rank them by the mean.

    Args:
        entries: method -> its runs, one for each seed.
        names: the perturbations that the mean is over.
        resamples: how many resamples of the photographs.
        seed: of the draws.

    Returns:
        method -> drop.
    """
    by = {name: {one: _drop(runs, one) for one in names} for name, runs in entries.items()}
    whole = {name: runs for name, runs in entries.items() if None not in by[name].values()}
    columns = {name: np.concatenate([_columns(runs, one) for one in names], axis=1) for name, runs in whole.items()}
    means = {name: float(np.mean([value for value in by[name].values() if value is not None])) for name in whole}
    common = common_samples({name: [run.clean for run in runs] for name, runs in whole.items()})
    order = sorted(common, key=lambda name: (means[name], name))
    ranks: dict[str, int] = {}
    intervals: dict[str, Interval] = {}
    if order:
        images = whole[order[0]][0].clean.image_id
        several = len(set(images)) > 1
        sums = resample([columns[name] for name in order], images, resamples, seed) if several else []
        spread = {name: _mean_drop(part) for name, (part, _) in zip(order, sums, strict=False)}
        intervals = {name: percentile_interval(values) for name, values in spread.items()}
        ranks = ranks_by_sums(order, images, spread, columns, _mean_drop)
    return {name: Drop(ranks.get(name), by[name], means.get(name), intervals.get(name)) for name in entries}


def _columns(runs: Sequence[SeedRuns], name: str) -> NDArray[np.float64]:
    """(N, 2) clean and perturbed IoU of each sample, mean over seeds; 0 where a perturbation leaves the sample out."""
    parts = []
    for run in runs:
        there = run.perturbed[name]
        places = {sample_id: place for place, sample_id in enumerate(run.clean.sample_id)}
        rows = np.array([places[sample_id] for sample_id in there.sample_id])
        part = np.zeros((len(places), 2))
        part[rows, 0] = run.clean.areas.iou[rows]
        part[rows, 1] = there.areas.iou
        parts.append(part)
    found: NDArray[np.float64] = np.mean(parts, axis=0)
    return found


def _drop(runs: Sequence[SeedRuns], name: str) -> float | None:
    """The relative drop under one perturbation; None if a run lacks it, is of other samples, or has a score of 0."""
    if not all(name in run.perturbed for run in runs) or len({run.clean.sample_id for run in runs}) > 1:
        return None
    drop = float(_mean_drop(_columns(runs, name).sum(axis=0)[None])[0])
    return None if np.isnan(drop) else drop


def _mean_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean drop (R,) of sums (R, 2 K): clean and perturbed, in turn. NaN where a clean sum is 0."""
    clean, perturbed = sums[:, 0::2], sums[:, 1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(clean > 0, perturbed / clean, np.nan)
    drops: NDArray[np.float64] = 1 - ratio.mean(axis=1)
    return drops
