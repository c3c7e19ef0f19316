"""Why a score is what it is: what each prediction of a run is, how well it is calibrated, what other thresholds give.

Everything is computed from `samples.csv.gz` and `detail.csv.gz`. Intervals resample photographs,
as those of the boards do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench import terminal
from rrsis_bench.data.wording import WORDINGS
from rrsis_bench.errors import UsageError
from rrsis_bench.metrics.areas import divide
from rrsis_bench.metrics.protocols import DEFAULT, NATIVE
from rrsis_bench.results.breakdown import groups
from rrsis_bench.results.counts import scored_by
from rrsis_bench.results.detail import Detail, SplitDetail, read_detail
from rrsis_bench.results.samples import SampleTable, read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import RESULT
from rrsis_bench.stats import calibration
from rrsis_bench.stats.bootstrap import LEVEL, RESAMPLES, SEED, percentile_interval, resample
from rrsis_bench.stats.failures import KINDS, MEANING, attribute

NO_OTHERS = "no image is known to hold several instances: no prediction counts as spread or on a wrong instance"
NO_TARGET = "samples without a target are left out: {}; the protocol generalised-v1 scores them"
NO_WORDING = "none of these"
"""The part of expressions that name nothing of `WORDINGS`."""
NO_VAL = "the data set has no val split to choose a threshold on"

MEASURES: Mapping[str, str] = {
    "miou": "mIoU",
    "miou_val_threshold": "mIoU, threshold of val",
    "gain_val_threshold": "gain by that threshold",
    "miou_oracle": "mIoU, best threshold each",
    "boundary_iou": "boundary IoU",
    "box_iou": "box IoU",
    "peak_hit": "peak in the referent",
    "ece": "calibration error (ECE)",
    "pixel_ap": "average precision of pixels",
}
"""Name -> title of what is printed with an interval."""


@dataclass(frozen=True)
class Explained:
    """A run that was scored with detail.

    Attributes:
        folder: the run folder.
        result: its result.
        table: its samples.
        detail: their detail.
        kinds: (N,) index into `KINDS` of each prediction.
    """

    folder: RunFolder
    result: dict[str, Any]
    table: SampleTable
    detail: Detail
    kinds: NDArray[np.int64]

    @property
    def name(self) -> str:
        """`method@variant` with its seed's folder."""
        method = self.result["method"]
        return f"{method['name']}@{method['variant']}"

    @property
    def iou(self) -> NDArray[np.float64]:
        """Native IoU of each sample, (N,)."""
        return native_iou(self.table)


def native_iou(table: SampleTable) -> NDArray[np.float64]:
    """Native IoU of each sample, (N,); 1 where truth and prediction are both empty."""
    truth, pred, inter = table.view(NATIVE.name).T
    return divide(inter, truth + pred - inter, "one_if_both_empty")


def kinds_of(table: SampleTable, detail: Detail) -> NDArray[np.int64]:
    """The kind of each prediction, (N,): index into `KINDS`."""
    return attribute(table.view(NATIVE.name), detail.test.column("other_most", "other_area", "other_covered"))


def of_referents(table: SampleTable, detail: Detail, dataset: Mapping[str, Any]) -> tuple[SampleTable, Detail]:
    """The samples that `native-v1` scores: kinds of failure and thresholds speak of a referent that is there.

    Args:
        table: a run's samples.
        detail: their detail.
        dataset: the `dataset` block of the run's result; by its rule `no-target`, some samples have no referent.
    """
    known = scored_by(table, DEFAULT, dataset)
    return (table, detail) if known is table else (known, detail.targeted())


def load(path: Path) -> Explained:
    """Read a run that was scored with detail. Samples without a target are left out, as `native-v1` leaves them out.

    Args:
        path: a run folder, or its `result.json`.

    Raises:
        UsageError: there is no result, it was scored without detail, or no sample has a target.
        UserError: a file of the run fails its checks.
    """
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}; name a run folder.")
    folder = RunFolder(path.parent if path.name == RESULT else path)
    if not folder.is_finished:
        raise UsageError(f"{folder} holds no {RESULT}: name a run folder that {folder.command('test')} --detail wrote.")
    return read(folder, folder.result())


def read(folder: RunFolder, result: dict[str, Any]) -> Explained:
    """Read a run whose result is known; see `load`."""
    table = read_samples(folder, result["samples_sha256"])
    detail = read_detail(folder, result, table)
    table, detail = of_referents(table, detail, result["dataset"])
    if not len(table):
        raise UsageError(f"{folder}: no sample has a target, so there is no referent to find or to miss.")
    return Explained(folder, result, table, detail, kinds_of(table, detail))


@dataclass(frozen=True, eq=False)
class SampleMeasures:
    """What a run's detail says of each sample. `N` samples, `K` bins of probability.

    Attributes:
        threshold: the best one on val; None where the data set has no val.
        columns: name of `MEASURES` -> (N,) values, of those that are means over samples.
        kinds: (N,) index into `KINDS`.
        hist: (N, 2 K) pixels outside and inside the truth, by bin.
        has_others: whether any image is known to hold several instances.
        parts: breakdown -> part -> row numbers: by category, size and wording.
    """

    threshold: float | None
    columns: Mapping[str, NDArray[np.float64]]
    kinds: NDArray[np.int64]
    hist: NDArray[Any]
    has_others: bool
    parts: Mapping[str, Mapping[str, NDArray[np.int64]]]

    @property
    def one_hot(self) -> NDArray[np.float64]:
        """(N, len(KINDS)) 1 at each sample's kind."""
        found: NDArray[np.float64] = (self.kinds[:, None] == np.arange(len(KINDS))).astype(np.float64)
        return found


def sample_measures(folder: RunFolder, result: dict[str, Any]) -> SampleMeasures:
    """Measure each sample of a run whose result is known; see `load` for what it raises."""
    return measures_of(read(folder, result))


def measures_of(run: Explained) -> SampleMeasures:
    """Measure each sample of a run."""
    part, iou = run.detail.test, run.iou
    threshold = None if run.detail.val is None else calibration.best_threshold(run.detail.val.hist)
    columns: dict[str, NDArray[np.float64]] = {
        "miou": iou,
        **_at_threshold(part.hist, threshold, iou),
        "miou_oracle": calibration.oracle(part.hist),
        "boundary_iou": _ratio(part, "edge_inter", "edge_union"),
        "box_iou": _ratio(part, "box_inter", "box_union"),
        "peak_hit": part.column("peak_hit").astype(np.float64),
    }
    # Boards hold the histograms of many runs at once.
    hist = part.hist.astype(np.min_scalar_type(int(part.hist.max(initial=0))))
    return SampleMeasures(threshold, columns, run.kinds, hist, run.detail.has_others, _parts(run))


def explain(run: Explained, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Explain a run; the values are those of JSON, and fractions.

    Args:
        run: the run.
        resamples: number of resamples of the photographs.

    Returns:
        `name`, `folder`, `dataset`, `split`, `n_samples`, `n_images`, `bootstrap`; `kinds`: kind -> `n`, `value`,
        `interval`; `by`: breakdown -> part -> `n`, `n_images` and kind -> share; `measures`: name of `MEASURES` ->
        `value`, `interval`; `threshold`: the best one on val, or None; `reliability`: see `calibration.reliability`;
        `notes`: sentences on what the data set does not allow.
    """
    table, measured = run.table, measures_of(run)
    columns, threshold = measured.columns, measured.threshold
    means = np.concatenate([np.stack(list(columns.values()), axis=1), measured.one_hot], axis=1)
    hist = measured.hist.astype(np.float64)
    enough = len(set(table.image_id)) > 1
    drawn = resample([means, hist], table.image_id, resamples) if enough else None
    values = [*means.mean(axis=0)]
    spread = None if drawn is None else drawn[0][0] / drawn[0][1][:, None]
    found = [_entry(value, None if spread is None else spread[:, k]) for k, value in enumerate(values)]
    measures = dict(zip(columns, found, strict=False))
    for name, measure in (("ece", calibration.calibration_error), ("pixel_ap", calibration.average_precision)):
        whole = measure(hist.sum(axis=0)[None])[0]
        measures[name] = _entry(whole, None if drawn is None else measure(drawn[1][0]))
    counted = np.bincount(run.kinds, minlength=len(KINDS))
    dataset = run.result["dataset"]
    left_out = dataset["n_samples"] - len(table)
    notes = [NO_TARGET.format(left_out)] * (left_out > 0)
    notes += [NO_OTHERS] * (not measured.has_others) + [NO_VAL] * (threshold is None)
    return {
        "name": run.name,
        "folder": run.folder.path.as_posix(),
        "dataset": dataset["name"],
        "split": dataset["split"],
        "n_samples": len(table),
        "n_images": len(set(table.image_id)),
        "bootstrap": {"unit": "image", "resamples": resamples, "seed": SEED, "level": LEVEL},
        "kinds": {kind: {"n": int(counted[k]), **found[len(columns) + k]} for k, kind in enumerate(KINDS)},
        "by": _by(run, measured.parts),
        "measures": {name: measures[name] for name in MEASURES if name in measures},
        "threshold": threshold,
        "reliability": calibration.reliability(measured.hist.sum(axis=0, dtype=np.int64)),
        "notes": notes,
    }


def _ratio(part: SplitDetail, inter: str, union: str) -> NDArray[np.float64]:
    return divide(part.column(inter), part.column(union), "one_if_both_empty")


def _at_threshold(
    hist: NDArray[np.int64], threshold: float | None, iou: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    if threshold is None:
        return {}
    there = calibration.iou_by_threshold(hist)[:, calibration.THRESHOLDS.index(threshold)]
    return {"miou_val_threshold": there, "gain_val_threshold": there - iou}


def _entry(value: float, spread: NDArray[np.float64] | None) -> dict[str, Any]:
    interval = None if spread is None else percentile_interval(spread)
    known = None if np.isnan(value) else float(value)
    return {"value": known, "interval": None if interval is None else list(interval)}


def _parts(run: Explained) -> dict[str, dict[str, NDArray[np.int64]]]:
    """The rows of each part: by category, size and wording."""
    parts = {kind: rows for kind, rows in groups(run.table).items() if kind in ("category", "size")}
    named = run.detail.test.wording
    wording = {name: np.flatnonzero(named[:, k]) for k, name in enumerate(WORDINGS)}
    wording[NO_WORDING] = np.flatnonzero(~named.any(axis=1))
    return {**parts, "wording": {name: rows for name, rows in wording.items() if len(rows)}}


def _by(run: Explained, parts: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The share of each kind in each part."""
    images = np.array(run.table.image_id)
    return {
        by: {
            name: {
                "n": len(rows),
                "n_images": len(set(images[rows].tolist())),
                **{kind: float((run.kinds[rows] == k).mean()) for k, kind in enumerate(KINDS)},
            }
            for name, rows in known.items()
        }
        for by, known in parts.items()
    }


def show(found: Mapping[str, Any]) -> None:
    """Print what `explain` returned as tables, in percent."""
    from rich.table import Table

    terminal.say(
        f"{found['name']} ({found['folder']})\n{found['dataset']} {found['split']}, {found['n_samples']} samples of "
        f"{found['n_images']} images; 95 % intervals over images"
    )
    table = Table()
    for title in ("prediction", "n", "%", "95 %"):
        table.add_column(title, justify="left" if title == "prediction" else "right")
    for kind, entry in found["kinds"].items():
        table.add_row(kind, str(entry["n"]), *_cells(entry))
    terminal.show(table)
    table = Table()
    for title in ("measure", "%", "95 %"):
        table.add_column(title, justify="left" if title == "measure" else "right")
    for name, entry in found["measures"].items():
        table.add_row(MEASURES[name], *_cells(entry, signed=name.startswith("gain")))
    terminal.show(table)
    if found["threshold"] is not None:
        terminal.say(f"The best threshold on val is {found['threshold']:.2f}.")
    for by, parts in found["by"].items():
        table = Table()
        for title in (by, "n", *KINDS):
            table.add_column(title, justify="left" if title == by else "right")
        for name, entry in parts.items():
            table.add_row(name, str(entry["n"]), *(f"{100 * entry[kind]:.1f}" for kind in KINDS))
        terminal.show(table)
    for note in found["notes"]:
        terminal.say(f"note: {note}")


def meanings() -> str:
    """What the kinds mean, one line each."""
    return "\n".join(f"{kind}: {meaning}." for kind, meaning in MEANING.items())


def _cells(entry: Mapping[str, Any], signed: bool = False) -> Sequence[str]:
    value, interval = entry["value"], entry["interval"]
    shown = "" if value is None else f"{100 * value:{'+' if signed else ''}.2f}"
    ends = "" if interval is None else " ".join(f"{100 * end:{'+' if signed else ''}.2f}" for end in interval)
    return shown, ends
