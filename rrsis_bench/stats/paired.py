"""Is one method better than another? Paired differences on the same samples, resampled by image.

A method's value is the mean over its seeds. Every method is scored in the very same resamples, so that what makes an
image hard cancels in the difference. The p value turns the interval round (Efron and Tibshirani 1993, section 15.4):
twice the smaller share of resamples on either side of zero, with one added to count and total, so that it is never 0
(Davison and Hinkley 1997, equation 4.11).

Shape legend: `N` samples, `E` entries (methods), `R` resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.functional import METRICS, Counts, sample_values, scores
from rrsis_bench.metrics.protocols import DEFAULT, get
from rrsis_bench.results.samples import SampleTable, read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.bootstrap import RESAMPLES, SEED, Interval, overall, percentile_interval, resample_sums

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

    @classmethod
    def of(cls, table: SampleTable, protocol: str = DEFAULT, where: str = "a run") -> RunCounts:
        """From a sample table. Raises UserError if it lacks the protocol's view."""
        return cls(table.sample_id, table.image_id, table.view(get(protocol).view.name), protocol, where)

    @classmethod
    def read(cls, folder: Path, protocol: str = DEFAULT) -> RunCounts:
        """From a run folder's `samples.csv.gz`. Raises UserError as `RunFolder.samples`."""
        return cls.of(read_samples(RunFolder(folder)), protocol, str(folder))

    def rows(self, index: NDArray[np.int64]) -> RunCounts:
        """The run on some of its samples only."""
        ids, images = (tuple(column[i] for i in index) for column in (self.sample_id, self.image_id))
        return RunCounts(ids, images, self.counts[index], self.protocol, self.where)


@dataclass(frozen=True)
class Difference:
    """How far A lies above B.

    Attributes:
        a: value of A, the mean over its seeds; None for NaN.
        b: value of B.
        difference: a - b.
        interval: 95 % percentile interval of the difference; None with fewer than two images, or where it is NaN.
        p: two-sided p value of "no difference"; None as the interval.
    """

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval
    p: float | None


def why_not_paired(first: RunCounts, second: RunCounts) -> str | None:
    """Why two runs cannot be compared sample by sample, in words; None if they can."""
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


def point(runs: Sequence[RunCounts], metric: str) -> float:
    """A method's value: the mean of a metric over its seeds (NaN where the protocol says so)."""
    return float(np.mean([scores(run.counts, run.protocol)[metric] for run in runs]))


def resampled(
    entries: Sequence[Sequence[RunCounts]], metrics: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, NDArray[np.float64]]:
    """Metrics of every entry in every resample of the images, all entries and metrics in the same resamples.

    Args:
        entries: E methods, each with one or more seeds; all of the same samples.
        metrics: names of the metrics.
        resamples: how many resamples R.
        seed: of the draws.

    Returns:
        metric -> (E, R) means over the seeds.
    """
    clusters = entries[0][0].image_id
    found = {metric: np.empty((len(entries), resamples)) for metric in metrics}
    ones = np.ones(len(clusters))
    for start in range(0, len(entries), _BLOCK):
        block = entries[start : start + _BLOCK]
        columns = [_columns(runs, metrics) for runs in block]
        sums = resample_sums(
            np.stack([column for part in columns for column in part] + [ones], 1), clusters, resamples, seed
        )
        drawn, place = sums[:, -1], 0
        for number, runs in enumerate(block, start):
            for metric in metrics:
                if metric == "oiou":
                    empty = get(runs[0].protocol).empty_union
                    areas = [sums[:, place + 2 * k : place + 2 * k + 2].T for k in range(len(runs))]
                    found[metric][number] = np.mean([overall(inter, union, empty) for inter, union in areas], axis=0)
                    place += 2 * len(runs)
                else:
                    found[metric][number] = sums[:, place] / drawn
                    place += 1
    return found


def _columns(runs: Sequence[RunCounts], metrics: Sequence[str]) -> list[NDArray[np.float64]]:
    """What the metrics of an entry sum over samples: a value's mean over seeds, or the areas for each seed."""
    values = [sample_values(run.counts, run.protocol) for run in runs]
    columns: list[NDArray[np.float64]] = []
    for metric in metrics:
        if metric != "oiou":
            columns.append(np.mean([value[metric] for value in values], axis=0))
            continue
        for run in runs:
            truth, pred, inter = run.counts.T.astype(np.float64)
            columns += [inter, truth + pred - inter]
    return columns


def p_value(differences: NDArray[np.float64]) -> float | None:
    """Two-sided p value of "no difference" from the differences in the resamples (R,); None if one is NaN."""
    if np.isnan(differences).any():
        return None
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return float(min(1.0, 2 * (tail + 1) / (len(differences) + 1)))


def compare(
    a: Sequence[RunCounts],
    b: Sequence[RunCounts],
    metrics: Sequence[str] = METRICS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Difference]:
    """The difference of two methods on the same samples.

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
    several = len(set(a[0].image_id)) > 1
    spread = resampled([a, b], metrics, resamples, seed) if several else {}
    found = {}
    for metric in metrics:
        here, there = point(a, metric), point(b, metric)
        interval, p = None, None
        if several:
            differences = spread[metric][0] - spread[metric][1]
            interval, p = percentile_interval(differences), p_value(differences)
        found[metric] = Difference(_known(here), _known(there), _known(here - there), interval, p)
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values of several comparisons: the chance of any false finding stays below the level.

    Holm 1979: the k-th smallest of m is multiplied by m - k + 1, none becomes smaller than one before it, none
    exceeds 1.
    """
    order = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted
