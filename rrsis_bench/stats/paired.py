"""Is one method better than another? Paired differences on the same samples, resampled by image.

A method's value is the mean over its seeds. All methods are scored in the same resamples: what makes an image hard
cancels in the difference. How the p value is found depends on the number of photographs C:

- C < `FEWEST`: not at all. No difference could be more than chance.
- C <= `EXACT_UP_TO`: exactly, see `exact`.
- above: by turning the bootstrap interval round (Efron and Tibshirani 1993, section 15.4). The p value is twice the
  smaller share of resamples on either side of zero, one added to count and total (Davison and Hinkley 1997, eq. 4.11).

Shape legend: `N` samples, `E` entries (methods), `R` resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.areas import Areas, Counts
from rrsis_bench.metrics.definitions import METRICS, metrics_of
from rrsis_bench.metrics.protocols import DEFAULT, get
from rrsis_bench.stats.bootstrap import RESAMPLES, SEED, Interval, percentile_interval, resample
from rrsis_bench.stats.exact import EXACT_UP_TO, FEWEST, TIE, exact_p, sums_by_cluster

_BLOCK = 256


@dataclass(frozen=True, eq=False)
class RunCounts:
    """The integers of one run under one protocol.

    Attributes:
        sample_id: N ids, sorted.
        image_id: N ids of the photographs.
        counts: (N, 3) int64 truth, prediction and intersection in pixels.
        protocol: name of the protocol whose view the counts are of.
        where: what to call the run in an error.
    """

    sample_id: tuple[str, ...]
    image_id: tuple[str, ...]
    counts: Counts
    protocol: str = DEFAULT
    where: str = "a run"

    @cached_property
    def areas(self) -> Areas:
        """The integers with their protocol, which metrics are computed from."""
        return Areas(self.counts, self.protocol)

    @cached_property
    def n_images(self) -> int:
        """Number of photographs C."""
        return len(set(self.image_id))

    def rows(self, index: NDArray[np.int64]) -> RunCounts:
        """The run on some of its samples only."""
        ids, images = (tuple(column[i] for i in index) for column in (self.sample_id, self.image_id))
        return RunCounts(ids, images, self.counts[index], self.protocol, self.where)


@dataclass(frozen=True)
class Difference:
    """The difference of two methods in one metric.

    Attributes:
        a: value of A, the mean over its seeds; None for NaN.
        b: value of B.
        difference: a - b.
        interval: 95 % percentile interval of the difference; None with fewer than `FEWEST` images, or where it is NaN.
        p: two-sided p value of "no difference"; None as the interval.
        n_images: number of photographs.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval
    p: float | None
    n_images: int


def why_not_paired(first: RunCounts, second: RunCounts) -> str | None:
    """Say why two runs cannot be compared sample by sample; None if they can."""
    if first.protocol != second.protocol:
        return f"{first.where} is scored by {first.protocol}, {second.where} by {second.protocol}"
    if first.sample_id != second.sample_id:
        here, there = set(first.sample_id), set(second.sample_id)
        only = [
            f"{len(extra)} samples only in {run.where} (first: '{min(extra)}')"
            for run, extra in ((first, here - there), (second, there - here))
            if extra
        ]
        return f"they are not of the same samples: {len(here & there)} in common, " + ", ".join(only)
    if first.image_id != second.image_id:
        return f"{first.where} and {second.where} put the same samples on different images"
    changed = np.flatnonzero(first.counts[:, 0] != second.counts[:, 0])
    if changed.size:
        return (
            f"the true masks of {changed.size} samples differ (first: '{first.sample_id[changed[0]]}'): "
            f"{first.where} and {second.where} were scored on different versions of the data"
        )
    return None


def means(runs: Sequence[RunCounts], metrics: Iterable[str]) -> dict[str, float]:
    """Compute a method's values: metric -> mean over its seeds (NaN where the protocol says so)."""
    areas = [run.areas for run in runs]
    return {name: float(np.mean([metrics_of(each.protocol)[name].score(each) for each in areas])) for name in metrics}


def resampled(
    entries: Sequence[Sequence[RunCounts]], metrics: Iterable[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, NDArray[np.float64]]:
    """Compute the metrics of every entry in every resample of the images, all of them in the same resamples.

    Args:
        entries: E methods, each with one or more seeds; all of the same samples.
        metrics: names of the metrics.
        resamples: how many resamples R.
        seed: of the draws.

    Returns:
        metric -> (E, R) means over the seeds.
    """
    names = list(metrics)
    found = {name: np.empty((len(entries), resamples)) for name in names}
    for start in range(0, len(entries), _BLOCK):
        wanted = [
            (number, name, columns)
            for number, runs in enumerate(entries[start : start + _BLOCK], start)
            for name, columns in _columns(runs, names).items()
        ]
        blocks = [block for _, _, columns in wanted for block in columns]
        spread = iter(resample(blocks, entries[0][0].image_id, resamples, seed))
        for number, name, columns in wanted:
            rule = get(entries[number][0].protocol)
            values = [metrics_of(rule)[name].of_sums(*next(spread), rule) for _ in columns]
            found[name][number] = np.mean(values, axis=0)
    return found


def _columns(runs: Sequence[RunCounts], metrics: Sequence[str]) -> dict[str, list[NDArray[np.float64]]]:
    """List what each metric of an entry sums over samples, (N, K) for each seed."""
    areas = [run.areas for run in runs]
    known = metrics_of(areas[0].protocol)
    found = {name: [known[name].columns(each) for each in areas] for name in metrics}
    # Means over the same samples can be averaged over seeds first: one column to resample in place of one a seed.
    return {
        name: [np.mean(columns, axis=0)] if known[name].kind == "mean" else columns for name, columns in found.items()
    }


def p_value(
    a: Sequence[RunCounts], b: Sequence[RunCounts], metric: str, differences: NDArray[np.float64]
) -> float | None:
    """Compute the two-sided p value of "no difference"; None with fewer than `FEWEST` photographs, or for NaN.

    Args:
        a: the runs of A, one for each seed.
        b: the runs of B, of the same samples.
        metric: name of the metric.
        differences: (R,) differences in the resamples, which decide where there are many photographs.
    """
    first = a[0]
    if first.n_images < FEWEST:
        return None
    if first.n_images > EXACT_UP_TO:
        return bootstrap_p(differences)
    rule, n = get(first.protocol), np.array([float(len(first.sample_id))])
    measure = metrics_of(rule)[metric]
    # A ratio's sums are averaged over seeds too: methods with other numbers of seeds can then be exchanged.
    sides = [np.mean([measure.columns(run.areas) for run in runs], axis=0) for runs in (a, b)]
    here, there = (sums_by_cluster(side, first.image_id) for side in sides)
    return exact_p(here, there, lambda sums: measure.of_sums(sums, n, rule))


def bootstrap_p(differences: NDArray[np.float64]) -> float | None:
    """Compute the two-sided p value from the differences in the resamples (R,); None if one is NaN."""
    if np.isnan(differences).any():
        return None
    tail = min(int((differences <= TIE).sum()), int((differences >= -TIE).sum()))
    return float(min(1.0, 2 * (tail + 1) / (len(differences) + 1)))


def compare(
    a: Sequence[RunCounts],
    b: Sequence[RunCounts],
    metrics: Iterable[str] = METRICS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Difference]:
    """Compare two methods on the same samples.

    Args:
        a: the runs of A, one for each seed.
        b: the runs of B; their number may be another.
        metrics: names of metrics.
        resamples: how many resamples.
        seed: of the draws.

    Returns:
        metric -> difference.

    Raises:
        UserError: the runs are not of the same samples; says how they differ.
    """
    for run in (*a[1:], *b):
        if (reason := why_not_paired(a[0], run)) is not None:
            raise UserError(f"{a[0].where} and {run.where} cannot be compared: {reason}.")
    names = list(metrics)
    images = a[0].n_images
    spread = resampled([a, b], names, resamples, seed) if images >= FEWEST else {}
    left, right = means(a, names), means(b, names)
    found = {}
    for metric in names:
        here, there = left[metric], right[metric]
        interval, p = None, None
        if spread:
            differences = spread[metric][0] - spread[metric][1]
            interval, p = percentile_interval(differences), p_value(a, b, metric, differences)
        found[metric] = Difference(_known(here), _known(there), _known(here - there), interval, p, images)
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p values of several comparisons: the chance of any false finding stays below the level.

    Holm 1979: the k-th smallest of m is multiplied by m - k + 1; none becomes smaller than the one before it, and none
    exceeds 1.
    """
    order = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted
