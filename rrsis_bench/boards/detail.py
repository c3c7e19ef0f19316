"""Tables of `test --detail`: what the predictions are, how well probabilities are calibrated, which samples are right.

Shape legend: `N` samples, `R` resamples, `K` bins of probability, `M` means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.boards.beside import BesideTable, Shows, caption_of
from rrsis_bench.boards.entries import Entry, by_method, by_split, ordinary
from rrsis_bench.boards.rows import card_of, over_seeds
from rrsis_bench.data.sizes import SIZE_NAMES
from rrsis_bench.data.wording import WORDINGS
from rrsis_bench.results.comparison import FEWEST_IN_PART
from rrsis_bench.results.explain import MEASURES, NO_OTHERS, NO_VAL, NO_WORDING, SampleMeasures
from rrsis_bench.stats import calibration
from rrsis_bench.stats.bootstrap import Interval, percentile_interval, resample
from rrsis_bench.stats.failures import KINDS
from rrsis_bench.stats.ranks import common_samples, ranks_by_sums

PARTS = (*SIZE_NAMES, *WORDINGS, NO_WORDING)
"""Parts whose share of right predictions a table shows, in order. Categories are too many for a table."""
_OTHERS = ("spread", "wrong instance")
"""Kinds that exist only where an image is known to hold several instances."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """A method, its measures averaged over its seeds.

    Attributes:
        head: the row's names.
        runs: its runs.
        value: measure or kind -> mean over seeds; None where it is not known.
        interval: the same -> 95 % interval over photographs.
        spread: of `right` and `ece`: (R,) values in the resamples; empty where nothing can be resampled.
        columns: of `right` and `ece`: (N, .) what the measure sums over samples, mean over seeds.
    """

    head: Mapping[str, Any]
    runs: Sequence[Entry]
    value: Mapping[str, float | None]
    interval: Mapping[str, Interval]
    spread: Mapping[str, NDArray[np.float64]]
    columns: Mapping[str, NDArray[np.float64]]


def detail_tables(runs: Sequence[Entry]) -> list[BesideTable]:
    """Make three tables for each data set, kind and split with runs of `test --detail`.

    Args:
        runs: all results.
    """
    known = [run for run in ordinary(runs) if run.measures is not None]
    return [table for key, members in by_split(known).items() for table in _tables(key, members)]


def _tables(key: tuple[str, str, str], members: Sequence[Entry]) -> Iterator[BesideTable]:
    groups = by_method(members)
    common = common_samples({name: [run.counts for run in group if run.counts] for name, group in groups.items()})
    measured = {name: _measure(group, name in common) for name, group in groups.items()}
    images = next((run.counts.image_id for name in common for run in groups[name] if run.counts), ())
    caption = caption_of(key, members)
    notes = [
        note
        for note, known in ((NO_OTHERS, any(map(_has_others, members))), (NO_VAL, any(map(_has_val, members))))
        if not known
    ]
    remarks = [f"{note[0].upper()}{note[1:]}." for note in notes]
    for part, by, measure, sign in _RANKED:
        order = sorted(
            (name for name in common if measured[name].value[by] is not None),
            key=lambda name: (sign * (measured[name].value[by] or 0.0), name),
        )
        spread = {name: measured[name].spread[by] for name in order if by in measured[name].spread}
        columns = {name: measured[name].columns[by] for name in order}
        ranks = ranks_by_sums(order, images, spread, columns, measure)
        rest = sorted(set(measured) - set(order))
        rows = [{"rank": ranks.get(name), **_row(part, measured[name])} for name in (*order, *rest)]
        yield BesideTable(f"{caption}: {_TITLES[part]}", (), tuple(rows), tuple(remarks), part, key)
        remarks = []
    rows = [_parts_row(measured[name], groups[name]) for name in groups]
    rows.sort(key=lambda row: (row["method"], row["variant"]))
    labels = tuple(label for label in PARTS if any(label in row["right"] for row in rows))
    yield BesideTable(f"{caption}: {_TITLES['parts']}", labels, tuple(rows), (), "parts", key)


_TITLES = {
    "failures": "what predictions are",
    "calibration": "calibration and thresholds",
    "parts": "right predictions by size and wording",
}


def _has_others(run: Entry) -> bool:
    return run.measures is not None and run.measures.has_others


def _has_val(run: Entry) -> bool:
    return run.measures is not None and run.measures.threshold is not None


def _share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share (R,) of sums (R, 2): hits and samples."""
    shares: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
    return shares


_RANKED: tuple[tuple[Shows, str, Callable[[NDArray[np.float64]], NDArray[np.float64]], int], ...] = (
    ("failures", "right", _share, -1),
    ("calibration", "ece", calibration.calibration_error, 1),
)
"""Tables with ranks: what each shows, the measure that ranks its rows, its formula, and 1 where small is good."""


def _measure(group: Sequence[Entry], paired: bool) -> _Measured:
    """Average a method's measures over its seeds; there is no interval unless all are of the table's samples."""
    found = [run.measures for run in group if run.measures is not None]
    hists = [one.hist.astype(np.float64) for one in found]
    names = [name for name in MEASURES if all(name in one.columns for one in found)]
    value: dict[str, float | None] = {
        name: over_seeds([float(one.columns[name].mean()) for one in found])[0] for name in names
    }
    for k, kind in enumerate(KINDS):
        value[kind] = over_seeds([float((one.kinds == k).mean()) for one in found])[0]
    if not any(one.has_others for one in found):
        value |= dict.fromkeys(_OTHERS)
    wholes = {"ece": calibration.calibration_error, "pixel_ap": calibration.average_precision}
    for name, measure in wholes.items():
        seeds = [float(measure(hist.sum(axis=0)[None])[0]) for hist in hists]
        value[name] = None if np.isnan(seeds).any() else over_seeds(seeds)[0]
    value["threshold"] = over_seeds([one.threshold for one in found])[0]
    head = card_of(group[0].result["method"])
    if not paired:
        return _Measured(head, group, value, {}, {}, {})
    columns = [np.stack([*(one.columns[name] for name in names), *one.one_hot.T], axis=1) for one in found]
    means = np.mean(columns, axis=0)
    place = len(names) + KINDS.index("right")
    whole = {"right": np.stack([means[:, place], np.ones(len(means))], axis=1), "ece": np.mean(hists, axis=0)}
    images = group[0].counts.image_id if group[0].counts else ()
    if len(set(images)) < 2:
        return _Measured(head, group, value, {}, {}, whole)
    (sums, drawn), *rest = resample([means, *hists], images)
    spread = dict(zip((*names, *KINDS), (sums / drawn[:, None]).T, strict=True))
    spread |= {name: np.mean([measure(part) for part, _ in rest], axis=0) for name, measure in wholes.items()}
    interval = {name: percentile_interval(values) for name, values in spread.items()}
    return _Measured(head, group, value, interval, {name: spread[name] for name in whole}, whole)


def _row(part: str, one: _Measured) -> dict[str, Any]:
    shown = {
        "failures": (*KINDS, "peak_hit", "boundary_iou", "box_iou"),
        "calibration": (
            "ece", "pixel_ap", "miou", "threshold", "miou_val_threshold", "gain_val_threshold", "miou_oracle"
        ),
    }[part]  # fmt: skip
    ends = {"failures": ("right",), "calibration": ("ece", "gain_val_threshold")}[part]
    row: dict[str, Any] = {**one.head, **{name: one.value.get(name) for name in shown}}
    row["intervals"] = {name: _ends(one.interval.get(name)) for name in ends}
    if part == "calibration":
        row["reliability"] = _reliability([run.measures for run in one.runs if run.measures is not None])
    return {**row, **_foot(one.runs)}


def _ends(interval: Interval) -> list[float] | None:
    return None if interval is None else list(interval)


def _foot(runs: Sequence[Entry]) -> dict[str, Any]:
    return {"n_seeds": len(runs), "runs": [run.folder for run in runs]}


def _reliability(found: Sequence[SampleMeasures]) -> dict[str, float | None]:
    """Probability -> share of true pixels in its bin, over the pixels of all seeds; None for no pixels."""
    hist = np.sum([one.hist.sum(axis=0, dtype=np.int64) for one in found], axis=0)
    return {f"{point['probability']:.3f}": point["share"] for point in calibration.reliability(hist)}


def _parts_row(one: _Measured, runs: Sequence[Entry]) -> dict[str, Any]:
    right: dict[str, float | None] = {}
    for label in PARTS:
        shares = [_right_in(label, run) for run in runs]
        if any(share is not None for share in shares):
            right[label] = over_seeds(shares)[0]
    return {**one.head, "right": right, **_foot(runs)}


def _right_in(label: str, run: Entry) -> float | None:
    """The share of right predictions in a part; None where it has too few photographs to tell."""
    if run.measures is None or run.counts is None:
        return None
    parts = {**run.measures.parts["size"], **run.measures.parts["wording"]}
    rows = parts.get(label)
    if rows is None or len({run.counts.image_id[row] for row in rows}) < FEWEST_IN_PART:
        return None
    return float((run.measures.kinds[rows] == KINDS.index("right")).mean())
