"""Columns and CSV of the boards whose rows are plain values: robustness and transfer."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.boards.render.cells import Column, number, percent, sheet

LEGENDS: Mapping[str, str] = {
    "robustness": (
        "mIoU in percent under `native-v1`, mean over seeds: clean, and under each perturbation with its severity "
        "(`name:severity`, see docs/robustness.md). Drop: the mean over the perturbations of 1 - perturbed / clean, "
        "both on the same samples; 95 %: its bootstrap interval over photographs. #: rank group by the drop, the "
        "smallest first; methods whose difference from the best of their group is no more than chance share a rank. "
        "The board says what a method loses, not how good it is: a method that scores low clean has little to lose."
    ),
    "transfer": (
        "mIoU in percent under `native-v1`, mean over seeds. Trained on: the run's own data set. Each further column "
        "is a data set that the run was tested on. Δ: the difference in points from the same method and variant, "
        "trained on the tested data set, paired over the same samples, with its 95 % bootstrap interval over "
        "photographs; empty where that is not measured. Shared and unseen: the samples whose class the training has, "
        "and has not, compared by a table of synonyms; samples without a class are in neither. Without overlap: near-"
        "duplicates of the training's images are left out."
    ),
    "costs": (
        "On a GPU: samples per second, and peak MiB of tensors, of training steps and scoring passes of the published "
        "variants with random weights, on a batch that lies on the device (`make bench-gpu`). Way: float32 by torch's "
        "defaults, bf16 autocast, or bf16 autocast compiled. Forecast: the peak that `rrsis-bench forecast` gives."
    ),
}
"""Layout of a board -> what its columns mean."""


_RUNS = Column(
    "runs",
    "runs",
    lambda row: " ".join(folder.rpartition("/")[2] for folder in row["runs"]),
    lambda row: None,
    left=True,
    printed=False,
    folders=lambda row: row["runs"],
)


def columns(table: BesideTable, layout: str) -> list[Column]:
    """List the columns of a table on a board of a layout."""
    if layout == "costs":
        return _gpu()
    return _transfer(table) if layout == "transfer" else _robustness(table)


def _gpu() -> list[Column]:
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
    named = [
        Column("method", "method", lambda row: row["name"], lambda row: row["name"].lower(), left=True),
        Column("trained_on", "trained on", lambda row: row["trained_on"], lambda row: row["trained_on"], left=True),
    ]
    return [*named, *(column for label in table.labels for column in _tested(label)), _RUNS]


def _tested(label: str) -> list[Column]:
    def points(row: Mapping[str, Any]) -> str:
        value, interval = row["differences"].get(label), row["intervals"].get(label)
        spread = "" if interval is None else f" ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})"
        return "" if value is None else f"{100 * value:+.2f}{spread}"

    def part(name: str) -> Column:
        title = f"{label} {name}"
        return Column(title, title, lambda row: percent(row[name].get(label)), lambda row: row[name].get(label))

    return [
        Column(label, label, lambda row: percent(row["scores"].get(label)), lambda row: row["scores"].get(label)),
        Column(f"{label} Δ", f"{label} Δ", points, lambda row: row["differences"].get(label)),
        part("shared"),
        part("unseen"),
    ]


def _robustness(table: BesideTable) -> list[Column]:
    return [
        Column("rank", "#", lambda row: "" if row["rank"] is None else str(row["rank"]), lambda row: row["rank"]),
        Column("method", "method", lambda row: row["name"], lambda row: row["name"].lower(), left=True),
        Column("clean", "clean", lambda row: percent(row["clean"]), lambda row: row["clean"], best="max"),
        Column("drop", "drop", lambda row: percent(row["drop"]), lambda row: row["drop"], best="min"),
        Column("interval", "95 %", _interval, lambda row: row["interval"] and row["interval"][0]),
        *(_score(label) for label in table.labels),
        Column("seeds", "seeds", lambda row: str(row["n_seeds"]), lambda row: row["n_seeds"]),
        _RUNS,
    ]


def _score(label: str) -> Column:
    return Column(
        label,
        label,
        lambda row: percent(row["scores"][label]),
        lambda row: row["scores"][label],
        best="max",
        printed=False,
    )


def _interval(row: Mapping[str, Any]) -> str:
    low_high = row["interval"]
    return "" if low_high is None else f"{percent(low_high[0])} – {percent(low_high[1])}"


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
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        elif name == "interval":
            yield from (
                (f"interval_{end}", None if value is None else value[k]) for k, end in enumerate(("low", "high"))
            )
        else:
            yield name, " ".join(value) if isinstance(value, list) else value
