"""The metrics. Scores, schema, intervals, comparisons, tables and boards all read their tables.

`METRICS` holds those of expressions with a target, `GENERALISED` those of the generalised protocols; `metrics_of` says
which ones a protocol has. A further metric is one entry of a table: its name, its title, how it follows from the
integers, and where tables show it. Earlier results lack it until `rrsis-bench results rescore` adds it from their
samples.

Shape legend: `N` samples, `R` resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.metrics.areas import Areas, divide
from rrsis_bench.metrics.protocols import DEFAULT, EmptyUnion, Protocol, get

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
        empty: what a ratio is where nothing is counted; None for what the protocol says of an empty union.
    """

    name: str
    title: str
    kind: Kind
    values: Callable[[Areas], NDArray[Any]]
    shown: Place = "files"
    empty: EmptyUnion | None = None

    def score(self, areas: Areas) -> float:
        """Compute the metric of the samples."""
        values = self.values(areas)
        if self.kind == "mean":
            return float(np.mean(values))
        numerator, denominator = values.sum(axis=0)[:, None]
        return float(divide(numerator, denominator, self.empty or areas.protocol.empty_union)[0])

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
        return divide(sums[:, 0], sums[:, 1], self.empty or protocol.empty_union)


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


def _share(hit: NDArray[np.bool_], among: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.stack([hit & among, among], axis=1).astype(np.int64)


GENERALISED: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("giou", "gIoU", "mean", lambda areas: areas.iou, "headline"),
        Metric(
            "ciou",
            "cIoU",
            "ratio",
            lambda areas: np.stack([areas.inter, areas.union], axis=1) * (areas.truth > 0)[:, None],
            "headline",
            "nan",
        ),
        Metric("nacc", "N-acc", "ratio", lambda areas: _share(areas.pred == 0, areas.truth == 0), "tables", "nan"),
        Metric("tacc", "T-acc", "ratio", lambda areas: _share(areas.pred > 0, areas.truth > 0), "tables", "nan"),
    )
}
"""The metrics of the generalised protocols. gIoU is the mean IoU, 1 for a right "nothing there"; cIoU sums over samples
with a target. N-acc is the share of samples without a target answered with nothing, T-acc that of samples with a target
answered with something. A score over no samples is NaN."""

_SAME_FORMULA = {"miou": "giou", "oiou": "ciou", "giou": "miou", "ciou": "oiou"}


def metrics_of(protocol: Protocol | str) -> Mapping[str, Metric]:
    """The metrics of a protocol by name, in the order of its tables."""
    return GENERALISED if (get(protocol) if isinstance(protocol, str) else protocol).generalised else METRICS


def monitored(metric: str, protocol: Protocol | str) -> str:
    """The metric that chooses a checkpoint: the named one, or the protocol's own of the same formula.

    Args:
        metric: name of any metric.
        protocol: what the checkpoint is chosen by. If it has no metric of that formula, the name stays as it is.
    """
    known = metrics_of(protocol)
    other = _SAME_FORMULA.get(metric, metric)
    return other if metric not in known and other in known else metric


def choosing(metric: str, protocol: Protocol | str) -> str:
    """The metric that chooses a checkpoint, as `monitored`, of those that the protocol has.

    Raises:
        UsageError: the protocol has no such metric.
    """
    name, known = monitored(metric, protocol), metrics_of(protocol)
    if name not in known:
        raise UsageError(f"model.monitor: there is no metric '{metric}'.{did_you_mean(metric, list(known))}")
    return name


def shown(place: Place, protocol: Protocol | str = DEFAULT) -> list[Metric]:
    """List the metrics that a place shows of a protocol, in order."""
    reach = PLACES.index(place)
    return [metric for metric in metrics_of(protocol).values() if PLACES.index(metric.shown) <= reach]
