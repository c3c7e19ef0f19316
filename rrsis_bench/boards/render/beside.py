"""Columns and CSV of the boards whose rows are plain values, such as robustness and transfer."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.boards.render.cells import Column, number, percent, runs_column, sheet, spread
from rrsis_bench.metrics.definitions import Metric, metrics_of
from rrsis_bench.metrics.protocols import GENERALISED
from rrsis_bench.results.audit import AGREE, DISAGREE
from rrsis_bench.results.comparison import FEWEST_IN_PART
from rrsis_bench.stats.failures import KINDS, MEANING

LEGENDS: Mapping[str, str] = {
    "robustness": (
        "mIoU in percent under `native-v1`, mean over seeds: clean, and under each perturbation with its severity "
        "(`name:severity`, see docs/robustness.md). Drop: the mean over the perturbations of 1 - perturbed / clean, "
        "both on the same samples; 95 %: its bootstrap interval over photographs. #: rank group by the drop, the "
        "smallest first; methods whose difference from the best of their group is no more than chance share a rank. "
        "The board says what a method loses, not how good it is: a method that scores low clean has little to lose."
    ),
    "generalised": (
        "Percent under `generalised-v1`, mean over seeds, ± standard deviation where there is more than one. gIoU: the "
        'mean IoU, 1 for a right "nothing there"; cIoU: summed over samples with a target. N-acc: the share of samples '
        "without a target answered with nothing; T-acc: of samples with a target answered with something. 95 %: "
        "bootstrap interval of gIoU over photographs. #: rank group by gIoU; methods whose difference from the best of "
        "their group is no more than chance share a rank."
    ),
    "failures": (
        "Percent of the samples with a referent, mean over seeds. "
        + " ".join(f"{kind.capitalize()}: {meaning}." for kind, meaning in MEANING.items())
        + " 95 %: bootstrap interval of `right` over photographs; #: rank group by it. Peak: the most probable pixel "
        "lies in the referent. Boundary, box: IoU of the boundaries (2 % of the diagonal wide), and of the tight boxes."
    ),
    "calibration": (
        "ECE: the mean gap, over pixels, between the probability of foreground and the share of true pixels, in "
        "percent; 95 %: its interval over photographs; #: rank group by it, the smallest first. AP: average precision "
        "of pixels. Threshold: the best one on val; at it: mIoU with it; gain: that less mIoU at 0.5 (95 %). Oracle: "
        "mIoU if each sample had its own best threshold."
    ),
    "parts": (
        "Percent of right predictions among the expressions about objects of a size (share of the image), and among "
        "those that name a position, a relation, a superlative, an ordinal or a colour. A part of fewer than "
        f"{FEWEST_IN_PART} photographs is too few to tell, and its cell is empty."
    ),
    "audits": (
        "A candidate is a sample on which each two methods agree (IoU above "
        f"{AGREE}) and none agrees with the truth (IoU below {DISAGREE}). `data audit` writes a page with pictures; "
        "this page holds none of them, since many data sets forbid to pass their images on."
    ),
    "candidates": (
        "The clearest candidates first. IoU of methods: the smallest of two methods; IoU with truth: the largest one. "
        "`rrsis-bench data show` draws the image with its truth where the data set is installed."
    ),
    "transfer": (
        "mIoU in percent under `native-v1`, mean over seeds. Trained on: the run's own data set. Each further column "
        "is a data set that the run was tested on. Δ: the difference in points from the same method and variant, "
        "trained on the tested data set, paired over the same samples, with its 95 % bootstrap interval over "
        "photographs; empty where that is not measured. Shared and unseen: the samples whose class the training has, "
        "and has not, compared by a table of synonyms; samples without a class are in neither. Without overlap: near-"
        "duplicates of the training's images are left out."
    ),
    "gpus": (
        "On a GPU: samples per second, and peak MiB of tensors, of training steps and scoring passes of the published "
        "variants with random weights, on a batch that lies on the device (`make bench-gpu`). Way: float32 by torch's "
        "defaults, bf16 autocast, or bf16 autocast compiled. Forecast: the peak that `rrsis-bench forecast` gives."
    ),
}
"""What a table shows -> what its columns mean."""


def _percent(name: str, title: str = "", best: str = "") -> Column:
    return Column(name, title or name, lambda row: percent(row[name]), lambda row: row[name], best=best)


def _points(difference: float | None, interval: Sequence[float] | None) -> str:
    """A difference in points, with its interval."""
    ends = "" if interval is None else f" ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})"
    return "" if difference is None else f"{100 * difference:+.2f}{ends}"


def _interval_of(name: str) -> Column:
    def low(row: Mapping[str, Any]) -> float | None:
        ends = row["intervals"][name]
        return None if ends is None else float(ends[0])

    return Column(f"{name}_interval", "95 %", lambda row: _ends(row["intervals"][name]), low, printed=False)


_RANK = Column("rank", "#", lambda row: "" if row["rank"] is None else str(row["rank"]), lambda row: row["rank"])
_METHOD = Column("method", "method", lambda row: row["name"], lambda row: row["name"].lower(), left=True)
_INTERVAL = Column(
    "interval", "95 %", lambda row: _ends(row["interval"]), lambda row: row["interval"] and row["interval"][0]
)
_SEEDS = Column("seeds", "seeds", lambda row: str(row["n_seeds"]), lambda row: row["n_seeds"])
_RUNS = runs_column(lambda row: row["runs"])


def columns(table: BesideTable) -> list[Column]:
    """List the columns of a table."""
    return _COLUMNS[table.shows](table)


def _gpus(table: BesideTable) -> list[Column]:
    def figure(name: str, title: str, digits: int, help: str) -> Column:
        return Column(name, title, lambda row: number(row[name], digits=digits), lambda row: row[name], help=help)

    def named(row: Mapping[str, Any]) -> str:
        # One cell: a narrow screen shows the first column and as many numbers as it can.
        return f"{row['name']}, {row['way']}"

    return [
        Column("method", "method", named, lambda row: named(row).lower(), left=True, help="and the way it runs"),
        Column("batch_size", "batch", lambda row: str(row["batch_size"]), lambda row: row["batch_size"]),
        figure("train_samples_per_second", "train/s", 2, "samples per second in training"),
        figure("train_memory_mb", "train MB", 0, "peak MiB of tensors in training"),
        figure("train_forecast_mb", "forecast MB", 0, "the same peak by forecast"),
        figure("score_samples_per_second", "score/s", 2, "samples per second in scoring"),
        figure("score_memory_mb", "score MB", 0, "peak MiB of tensors in scoring"),
        figure("score_forecast_mb", "score forecast MB", 0, "the same peak by forecast"),
        Column(
            "note", "note", lambda row: row["note"], lambda row: row["note"], left=True, help="what is missing, and why"
        ),
    ]


def _transfer(table: BesideTable) -> list[Column]:
    trained = Column(
        "trained_on", "trained on", lambda row: row["trained_on"], lambda row: row["trained_on"], left=True
    )
    return [_METHOD, trained, *(column for label in table.labels for column in _tested(label)), _RUNS]


def _tested(label: str) -> list[Column]:
    def part(name: str) -> Column:
        title = f"{label} {name}"
        return Column(title, title, lambda row: percent(row[name].get(label)), lambda row: row[name].get(label))

    return [
        Column(label, label, lambda row: percent(row["scores"].get(label)), lambda row: row["scores"].get(label)),
        Column(
            f"{label} Δ",
            f"{label} Δ",
            lambda row: _points(row["differences"].get(label), row["intervals"].get(label)),
            lambda row: row["differences"].get(label),
        ),
        part("shared"),
        part("unseen"),
    ]


def _robustness(table: BesideTable) -> list[Column]:
    return [
        _RANK,
        _METHOD,
        _percent("clean", best="max"),
        _percent("drop", best="min"),
        _INTERVAL,
        *(_score(label) for label in table.labels),
        _SEEDS,
        _RUNS,
    ]


def _generalised(table: BesideTable) -> list[Column]:
    def scored(metric: Metric) -> Column:
        name = metric.name
        return Column(
            name,
            metric.title,
            lambda row: spread(row["scores"][name], row["sd"][name]),
            lambda row: row["scores"][name],
            best="max",
        )

    return [_RANK, _METHOD, *map(scored, metrics_of(GENERALISED).values()), _INTERVAL, _SEEDS, _RUNS]


def _failures(table: BesideTable) -> list[Column]:
    return [
        _RANK,
        _METHOD,
        _percent("right", best="max"),
        _interval_of("right"),
        *(_percent(kind, best="min") for kind in KINDS[1:]),
        _percent("peak_hit", "peak", best="max"),
        _percent("boundary_iou", "boundary", best="max"),
        _percent("box_iou", "box", best="max"),
        _SEEDS,
        _RUNS,
    ]


def _calibration(table: BesideTable) -> list[Column]:
    return [
        _RANK,
        _METHOD,
        _percent("ece", "ECE", best="min"),
        _interval_of("ece"),
        _percent("pixel_ap", "AP", best="max"),
        _percent("miou", "mIoU", best="max"),
        Column("threshold", "threshold", lambda row: number(row["threshold"], digits=2), lambda row: row["threshold"]),
        _percent("miou_val_threshold", "at it", best="max"),
        Column(
            "gain_val_threshold",
            "gain",
            lambda row: _points(row["gain_val_threshold"], row["intervals"]["gain_val_threshold"]),
            lambda row: row["gain_val_threshold"],
        ),
        _percent("miou_oracle", "oracle", best="max"),
        _SEEDS,
        _RUNS,
    ]


def _parts(table: BesideTable) -> list[Column]:
    def part(label: str) -> Column:
        return Column(
            label, label, lambda row: percent(row["right"].get(label)), lambda row: row["right"].get(label), best="max"
        )

    return [_METHOD, *map(part, table.labels), _SEEDS, _RUNS]


def _audits(table: BesideTable) -> list[Column]:
    return [
        _words("dataset", "data set"),
        _words("split"),
        _count("n_samples", "samples"),
        _count("n_candidates", "candidates"),
        _percent("share", "%"),
        _words("methods"),
    ]


def _candidates(table: BesideTable) -> list[Column]:
    def iou(name: str, title: str) -> Column:
        return Column(name, title, lambda row: number(row[name], digits=2), lambda row: row[name])

    agreed = iou("agreement", "IoU of methods"), iou("with_truth", "IoU with truth")
    return [_words("sample_id", "sample"), *agreed, _words("show", "drawn by")]


def _words(name: str, title: str = "") -> Column:
    return Column(name, title or name, lambda row: row[name], lambda row: row[name], left=True)


def _count(name: str, title: str) -> Column:
    return Column(name, title, lambda row: f"{row[name]:,}", lambda row: row[name])


_COLUMNS: Mapping[str, Callable[[BesideTable], list[Column]]] = {
    "robustness": _robustness,
    "transfer": _transfer,
    "generalised": _generalised,
    "failures": _failures,
    "calibration": _calibration,
    "parts": _parts,
    "audits": _audits,
    "candidates": _candidates,
    "gpus": _gpus,
}


def _score(label: str) -> Column:
    return Column(
        label,
        label,
        lambda row: percent(row["scores"][label]),
        lambda row: row["scores"][label],
        best="max",
        printed=False,
    )


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{percent(interval[0])} – {percent(interval[1])}"


def flat_rows(tables: Iterable[BesideTable]) -> list[dict[str, Any]]:
    """The rows as flat values by name; mappings are spread over `<name>.<key>`."""
    return [{"table": table.caption, **dict(_flat(row))} for table in tables for row in table.rows]


def csv_text(tables: Iterable[BesideTable]) -> str:
    """Write the rows as CSV: a line for each row, mappings spread over `<name>.<key>`, fractions at full precision."""
    lines = flat_rows(tables)
    names = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: sheet(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _flat(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        items = (
            ((f"{name}.{key}", one) for key, one in value.items()) if isinstance(value, Mapping) else [(name, value)]
        )
        for title, one in items:
            if name.startswith("interval"):
                yield from zip((f"{title}_low", f"{title}_high"), one or (None, None), strict=True)
            else:
                yield title, " ".join(one) if isinstance(one, list) else one
