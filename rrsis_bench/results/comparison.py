"""Compares two methods: the difference of every metric with its interval, on the whole split and on its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrsis_bench import terminal
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.definitions import Metric, metrics_of, shown
from rrsis_bench.metrics.protocols import DEFAULT, get
from rrsis_bench.results.breakdown import PARTS, groups
from rrsis_bench.results.counts import run_counts, scored_by
from rrsis_bench.results.samples import SampleTable, read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import RESULT
from rrsis_bench.run.seal import beside
from rrsis_bench.stats.bootstrap import LEVEL, RESAMPLES, SEED
from rrsis_bench.stats.exact import EXACT_UP_TO, FEWEST
from rrsis_bench.stats.paired import Difference, RunCounts, compare, holm

if TYPE_CHECKING:
    from rich.table import Table

TOO_FEW = "too few photographs"
FEWEST_IN_PART = 10
"""The least number of photographs of a part of the split that is tested; below, a part is too few to tell."""


@dataclass(frozen=True)
class MethodRuns:
    """A method's runs on one data set.

    Attributes:
        name: `method@variant`, and what its results were perturbed by or trained on elsewhere.
        folder: path that the user named.
        dataset: name of the data set.
        split: name of the split.
        runs: the integers of each seed's run.
        table: samples of the first run.
    """

    name: str
    folder: Path
    dataset: str
    split: str
    runs: tuple[RunCounts, ...]
    table: SampleTable


def load(path: Path, protocol: str = DEFAULT) -> MethodRuns:
    """Read the runs of a method.

    Args:
        path: a run folder, its `result.json`, or a folder of `seed<k>` folders.
        protocol: name of the protocol to score by.

    Raises:
        UsageError: the path holds no result, or results of more than one method, data set or split.
        UserError: a result fails its checks, or lacks the protocol.
    """
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}; name a run folder, or a method's folder of seed folders.")
    files = [path / RESULT] if (path / RESULT).is_file() else sorted(path.glob(f"*/{RESULT}"))
    files = (
        [path]
        if path.name == RESULT and path.is_file()
        else [file for file in files if file.parent == path or _is_seed(file.parent)]
    )
    if not files:
        raise UsageError(f"{path} holds no {RESULT}: name a run folder, or a method's folder of seed folders.")
    found: dict[tuple[str, str, str], list[RunCounts]] = {}
    table = None
    for file in files:
        folder = RunFolder(file.parent)
        result = folder.result()
        samples = scored_by(read_samples(folder, result["samples_sha256"]), protocol, result["dataset"])
        table = table or samples
        method, dataset = result["method"], result["dataset"]
        key = (f"{method['name']}@{method['variant']}{beside(result)}", dataset["name"], dataset["split"])
        found.setdefault(key, []).append(run_counts(samples, protocol, str(file.parent)))
    if len(found) > 1 or table is None:
        listed = "; ".join(" ".join(key) for key in sorted(found))
        raise UsageError(
            f"{path} holds results of more than one method, data set or split: {listed}. Name one of them."
        )
    ((name, dataset_name, split), runs) = next(iter(found.items()))
    return MethodRuns(name, path, dataset_name, split, tuple(runs), table)


def _is_seed(folder: Path) -> bool:
    return re.fullmatch(r"seed\d+", folder.name) is not None


def comparison(a: Path, b: Path, protocol: str = DEFAULT, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare two methods; the values are those of JSON.

    Args:
        a: run folder of method A, or the folder of its seeds.
        b: run folder of method B, or the folder of its seeds.
        protocol: name of the protocol to score by.
        resamples: number of resamples of the photographs.

    Returns:
        `a` and `b` hold `name`, `folder`, `seeds`. `dataset`, `split`, `protocol`, `n_samples`, `n_images`, `bootstrap`
        and `test` describe the comparison. `overall`: metric -> `a`, `b`, `difference`, `interval`, `p`, `n_images`.
        `by`: `category` and `size` -> part -> `n` and metric -> the same keys with `p_holm`. The Holm adjustment
        covers the parts of a breakdown that have enough photographs to be tested.

    Raises:
        UsageError: see `load`; or the protocol is unknown.
        UserError: the runs have different samples, or a result fails its checks.
    """
    rules = get(protocol)
    here, there = load(a, protocol), load(b, protocol)
    if (here.dataset, here.split) != (there.dataset, there.split):
        raise UserError(
            f"{a} is on {here.dataset} {here.split}, {b} on {there.dataset} {there.split}: only results on the same "
            "samples can be compared."
        )
    overall = compare(here.runs, there.runs, metrics_of(protocol), resamples)
    parts = groups(here.table, rules)
    by = {kind: _by(here.runs, there.runs, parts[kind], resamples) for kind in PARTS}
    return {
        "a": _who(here),
        "b": _who(there),
        "dataset": here.dataset,
        "split": here.split,
        "protocol": protocol,
        "n_samples": len(here.table),
        "n_images": len(set(here.table.image_id)),
        "bootstrap": {"unit": "image", "resamples": resamples, "seed": SEED, "level": LEVEL},
        "test": {"unit": "image", "fewest": FEWEST, "fewest_in_part": FEWEST_IN_PART, "exact_up_to": EXACT_UP_TO},
        "overall": {metric: _plain(value) for metric, value in overall.items()},
        "by": by,
    }


def _who(entry: MethodRuns) -> dict[str, Any]:
    return {"name": entry.name, "folder": entry.folder.as_posix(), "seeds": len(entry.runs)}


def _by(
    a: Sequence[RunCounts], b: Sequence[RunCounts], parts: Mapping[str, Any], resamples: int
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    names = [metric.name for metric in shown("headline", a[0].protocol)]
    raw: dict[str, dict[str, float]] = {name: {} for name in names}
    for part, rows in parts.items():
        index = np.asarray(rows)
        differences = compare([run.rows(index) for run in a], [run.rows(index) for run in b], names, resamples)
        if len({a[0].image_id[row] for row in index}) < FEWEST_IN_PART:
            differences = {name: replace(value, interval=None, p=None) for name, value in differences.items()}
        found[part] = {"n": len(index), **{metric: _plain(value) for metric, value in differences.items()}}
        for metric, value in differences.items():
            if value.p is not None:
                raw[metric][part] = value.p
    for metric, values in raw.items():
        adjusted = holm(values)
        for part, entry in found.items():
            entry[metric]["p_holm"] = adjusted.get(part)
    return found


def _plain(value: Difference) -> dict[str, Any]:
    return {**asdict(value), "interval": None if value.interval is None else list(value.interval)}


def show(found: Mapping[str, Any]) -> None:
    """Print a comparison as tables, in percent; on a narrow terminal, the parts have a table for each metric."""
    from rich.table import Table

    a, b = found["a"], found["b"]
    terminal.say(
        f"A: {_named(a)}\nB: {_named(b)}\n{found['dataset']} {found['split']}, {found['n_samples']} samples of "
        f"{found['n_images']} images, {found['protocol']}; A - B with 95 % interval over images"
    )
    table = Table()
    for title in ("metric", "A", "B", "A - B", "95 %", "p"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for metric, value in found["overall"].items():
        table.add_row(metrics_of(found["protocol"])[metric].title, *_cells(value), _p(value["p"]))
    terminal.show(table)
    headline = shown("headline", found["protocol"])
    for kind, parts in found["by"].items():
        if terminal.fits(whole := _by_part(kind, parts, headline)):
            terminal.show(whole)
        else:
            for metric in headline:
                terminal.show(_by_part(kind, parts, [metric]))
    terminal.say(
        "* in the tables by part: Holm-adjusted p of that breakdown is below 0.05. p: two-sided, paired by photograph, "
        f"exact for {EXACT_UP_TO} or fewer, else from {found['bootstrap']['resamples']:,} resamples.\n"
        f"{TOO_FEW}: a part of fewer than {FEWEST_IN_PART} is too few to tell. With fewer than {FEWEST}, chance alone "
        "could explain any difference."
    )


def _by_part(kind: str, parts: Mapping[str, Any], metrics: Sequence[Metric]) -> Table:
    from rich.table import Table

    table = Table()
    heads = [head for metric in metrics for head in (f"{metric.title} A", "B", "A - B", "95 %")]
    for title in (kind, "n", *heads):
        table.add_column(title, justify="left" if title == kind else "right")
    for part, entry in parts.items():
        values = [entry[metric.name] for metric in metrics]
        cells = [cell for value in values for cell in _cells(value, value["p_holm"], FEWEST_IN_PART)]
        table.add_row(part, str(entry["n"]), *cells)
    return table


def _named(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']} ({entry['folder']}, {entry['seeds']} seed{'s' if entry['seeds'] > 1 else ''})"


def _cells(value: Mapping[str, Any], p_holm: float | None = None, fewest: int = FEWEST) -> list[str]:
    interval = TOO_FEW if value["n_images"] < fewest else ""
    if value["interval"] is not None:
        interval = "{:+.2f} {:+.2f}".format(*(100 * x for x in value["interval"]))
    star = "*" if p_holm is not None and p_holm < 1 - LEVEL else ""
    numbers = ["" if value[name] is None else f"{100 * value[name]:.2f}" for name in ("a", "b")]
    gap = "" if value["difference"] is None else f"{100 * value['difference']:+.2f}{star}"
    return [*numbers, gap, interval]


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
