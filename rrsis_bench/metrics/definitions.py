"""The one table of metrics. Scores, schema, intervals, comparisons, tables and boards all read it.

A further metric is one entry of `METRICS`: its name, its title, how it follows from the integers, and where tables show
it. Earlier results lack it until `rrsis-bench results rescore` adds it from their samples.

Shape legend: `N` samples, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.areas import Areas, divide
from rrsis_bench.metrics.protocols import Protocol

Kind = Literal["mean", "ratio"]
Place = Literal["headline", "tables", "terminal", "files"]

PLACES: tuple[Place, ...] = ("headline", "tables", "terminal", "files")
"""From few metrics to all. `headline`: beside the progress, and where two methods are compared part by part. `tables`:
boards and sweep tables. `terminal`: the table after a test. `files`: result files and whole comparisons."""


@dataclass(frozen=True)
class Metric:
    """One metric; a fraction 0..1.

    Attributes:
        name: in files and configurations.
        title: in tables.
        kind: `mean`: the mean over samples of a value of each. `ratio`: a sum over samples by another.
        values: for a mean (N,) values, for a ratio (N, 2) numerators and denominators.
        shown: the first of `PLACES` that shows it; all later ones do too.
    """

    name: str
    title: str
    kind: Kind
    values: Callable[[Areas], NDArray[Any]]
    shown: Place = "files"

    def score(self, areas: Areas) -> float:
        """Compute the metric of the samples."""
        values = self.values(areas)
        if self.kind == "mean":
            return float(np.mean(values))
        numerator, denominator = values.sum(axis=0)[:, None]
        return float(divide(numerator, denominator, areas.protocol.empty_union)[0])

    def columns(self, areas: Areas) -> NDArray[np.float64]:
        """Return what the metric sums over samples: (N, 1) for a mean, (N, 2) for a ratio."""
        return self.values(areas).astype(np.float64).reshape(len(areas.truth), -1)

    def of_sums(self, sums: NDArray[np.float64], n: NDArray[np.float64], protocol: Protocol) -> NDArray[np.float64]:
        """Compute the metric of each resample.

        Args:
            sums: (R, 1) or (R, 2) sums of `columns`.
            n: (R,) number of samples drawn.
            protocol: whose conventions hold.

        Returns:
            (R,).
        """
        if self.kind == "mean":
            return sums[:, 0] / n
        return divide(sums[:, 0], sums[:, 1], protocol.empty_union)


def _precision(percent: int, shown: Place) -> Metric:
    return Metric(f"pr{percent}", f"Pr@.{percent // 10}", "mean", lambda areas: areas.reaches(percent / 100), shown)


def _mean_precision(areas: Areas) -> NDArray[np.float64]:
    hits = [areas.reaches(percent / 100).astype(np.int64) for percent in range(50, 100, 5)]
    shares: NDArray[np.float64] = np.sum(hits, axis=0) / len(hits)
    return shares


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("miou", "mIoU", "mean", lambda areas: areas.iou, "headline"),
        Metric("oiou", "oIoU", "ratio", lambda areas: np.stack([areas.inter, areas.union], axis=1), "headline"),
        _precision(50, "tables"),
        _precision(60, "terminal"),
        _precision(70, "tables"),
        _precision(80, "terminal"),
        _precision(90, "tables"),
        Metric("map_pr", "Pr@.5:.95", "mean", _mean_precision),
        Metric(
            "dice",
            "Dice",
            "mean",
            lambda areas: divide(2 * areas.inter, areas.truth + areas.pred, areas.protocol.empty_union),
        ),
    )
}
"""By name, in the order of every table."""


def shown(place: Place) -> list[Metric]:
    """List the metrics that a place shows, in order."""
    reach = PLACES.index(place)
    return [metric for metric in METRICS.values() if PLACES.index(metric.shown) <= reach]
