"""Tables of results that no ordinary board takes: those under perturbations, and those on other data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from rrsis_bench.boards.entries import Entry, by_method, by_split
from rrsis_bench.boards.rows import RANKED_BY, card_of, n_scored, over_seeds
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.run.layout import ELSEWHERE, PERTURBED
from rrsis_bench.run.seal import training_of
from rrsis_bench.stats.drops import SeedRuns, relative_drops
from rrsis_bench.stats.paired import Difference, RunCounts, compare, why_not_paired

Shows = Literal[
    "robustness", "transfer", "generalised", "failures", "calibration", "parts", "audits", "candidates", "gpus"
]


@dataclass(frozen=True)
class BesideTable:
    """A table whose rows are plain values by name.

    Attributes:
        caption: what it is a table of.
        labels: what its columns differ in, such as perturbations.
        rows: best first.
        remarks: sentences to stand below it.
        shows: which columns it has.
        key: data set, kind and split of its rows; empty if they are of several.
    """

    caption: str
    labels: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...]
    shows: Shows
    key: tuple[str, ...] = ()


def caption_of(key: tuple[str, str, str], members: Sequence[Entry], protocol: str = DEFAULT) -> str:
    """Name the data set, split and kind of a table, and the number of samples that a protocol scores."""
    name, kind, split = key
    counts = sorted({n_scored(run.result, protocol) for run in members})
    samples = " or ".join(f"{count:,}" for count in counts)
    return f"{name}, {split} split, {kind} ({samples} samples)"


def clean_folder(entry: Entry) -> str | None:
    """The folder of the ordinary result that this one is filed under; None for an ordinary result."""
    folder = PurePosixPath(entry.folder)
    place = PERTURBED if "perturbation" in entry.result else ELSEWHERE
    return str(folder.parent.parent) if folder.parent.name == place else None


def why_not_under(entry: Entry, clean: Entry | None) -> str | None:
    """Say why a result cannot stand beside the ordinary result it is filed under; None if it can."""
    if clean is None:
        return f"the result of {entry.folder} has no result of the split itself above it. Test the run too."
    if entry.result["method"] != clean.result["method"] or training_of(entry.result) != training_of(clean.result):
        return f"{entry.folder} is not of the training whose result lies above it. Test the run under it again."
    transfer = entry.result.get("transfer")
    if transfer is not None and transfer["trained_on"] != clean.result["dataset"]["name"]:
        return f"{entry.folder} is of a run on {transfer['trained_on']}, but lies under another. Move it to its place."
    if transfer is None and entry.counts is not None and clean.counts is not None:
        areas = dict(zip(clean.counts.sample_id, clean.counts.counts[:, 0].tolist(), strict=True))
        here = zip(entry.counts.sample_id, entry.counts.counts[:, 0].tolist(), strict=True)
        if any(areas.get(sample_id) != area for sample_id, area in here):
            return f"{entry.folder} is of other samples than the result above it. Test both again."
    return None


def label_of(block: Mapping[str, Any]) -> str:
    """A perturbation as columns name it: `haze:3`, and its version from 2 on."""
    version = f" v{block['version']}" if block["version"] > 1 else ""
    return f"{block['name']}:{block['severity']}{version}"


def robustness_tables(runs: Sequence[Entry]) -> list[BesideTable]:
    """Make a table of the clean score, the scores under each perturbation and the mean drop, for each data set.

    Args:
        runs: all results; those under perturbations are filed under ordinary ones.
    """
    perturbed: dict[str, dict[str, Entry]] = defaultdict(dict)
    for run in runs:
        above = clean_folder(run)
        if "perturbation" in run.result and above is not None:
            perturbed[above][label_of(run.result["perturbation"])] = run
    clean = [run for run in runs if run.folder in perturbed and "perturbation" not in run.result]
    return [_table(key, members, perturbed) for key, members in by_split(clean).items()]


def _table(
    key: tuple[str, str, str], members: Sequence[Entry], perturbed: Mapping[str, Mapping[str, Entry]]
) -> BesideTable:
    groups = by_method(members)
    labels = sorted({label for run in members for label in perturbed[run.folder]})
    runs = {
        name: [
            SeedRuns(run.counts, {label: one.counts for label, one in perturbed[run.folder].items() if one.counts})
            for run in group
            if run.counts is not None
        ]
        for name, group in groups.items()
    }
    drops = relative_drops({name: found for name, found in runs.items() if found}, labels)
    rows = []
    for name, drop in drops.items():
        group = groups[name]
        shown = {label: _mean([perturbed[run.folder].get(label) for run in group]) for label in labels}
        rows.append(
            {
                "rank": drop.rank,
                **card_of(group[0].result["method"]),
                "n_seeds": len(group),
                "clean": _mean(group),
                "scores": shown,
                "drops": dict(drop.by),
                "drop": drop.mean,
                "interval": None if drop.interval is None else list(drop.interval),
                "runs": [run.folder for run in group],
            }
        )
    rows.sort(key=lambda row: (row["drop"] is None, row["drop"] or 0.0, row["method"], row["variant"]))
    short = [row["name"] for row in rows if row["drop"] is None]
    remarks = [f"Not scored under every perturbation, and without a mean: {', '.join(short)}."] if short else []
    return BesideTable(caption_of(key, members), tuple(labels), tuple(rows), tuple(remarks), "robustness", key)


def _mean(runs: Iterable[Entry | None]) -> float | None:
    values = [None if run is None else run.result["metrics"][DEFAULT][RANKED_BY]["value"] for run in runs]
    return over_seeds(values)[0]


def transfer_tables(runs: Sequence[Entry]) -> list[BesideTable]:
    """Make the matrix of trained on (rows) x tested on (columns) of every method, with differences to the diagonal.

    The diagonal is the score of the same method and variant, trained on the data set that is tested.

    Args:
        runs: all results; those on other data sets are filed under ordinary ones.
    """
    cells: dict[tuple[str, str, str], dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    diagonal: dict[tuple[str, str], dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        method, tested = run.result["method"], str(run.result["dataset"]["name"])
        key = (str(method["name"]), str(method["variant"]))  # a named cell of a sweep is a method of its own
        if "transfer" in run.result:
            excluded = " without overlap" if "excluded" in run.result["transfer"] else ""
            cells[*key, run.result["transfer"]["trained_on"]][tested + excluded].append(run)
        elif "perturbation" not in run.result and run.result["dataset"]["split"] == "test" and _trained_here(run):
            diagonal[key][tested].append(run)
    if not cells:
        return []
    for name, variant, trained in list(cells):
        # The row of each tested data set shows its own diagonal, and each row its own too.
        on = {label.partition(" ")[0] for label in cells[name, variant, trained]} | {trained}
        for dataset in on & diagonal[name, variant].keys():
            cells[name, variant, dataset][dataset] = diagonal[name, variant][dataset]
    rows = [_transfer_row(key, found, diagonal[key[:2]]) for key, found in sorted(cells.items())]
    labels = tuple(sorted({label for row in rows for label in row["scores"]}))
    return [BesideTable("trained on (rows), tested on (columns), test splits", labels, tuple(rows), (), "transfer")]


def _trained_here(run: Entry) -> bool:
    """Whether a result is of this suite's training on the data set that is tested."""
    return run.result["kind"] in ("retrained", "smoke")


def _transfer_row(
    key: tuple[str, str, str], cells: Mapping[str, Sequence[Entry]], diagonal: Mapping[str, Sequence[Entry]]
) -> dict[str, Any]:
    found = [run for group in cells.values() for run in group]
    row: dict[str, Any] = {**card_of(found[0].result["method"]), "trained_on": key[2]}
    elsewhere = {label: label.partition(" ")[0] for label in cells if label.partition(" ")[0] != key[2]}
    differences = {
        label: _against(group, diagonal.get(elsewhere[label], ())) if label in elsewhere else None
        for label, group in cells.items()
    }
    return {
        **row,
        "n_seeds": {label: len(group) for label, group in cells.items()},
        "scores": {label: _mean(group) for label, group in cells.items()},
        "differences": {label: one and one.difference for label, one in differences.items()},
        "intervals": {
            label: list(one.interval) if one and one.interval else None for label, one in differences.items()
        },
        "p": {label: one and one.p for label, one in differences.items()},
        "shared": {label: _part(group, "shared") for label, group in cells.items()},
        "unseen": {label: _part(group, "unseen") for label, group in cells.items()},
        "runs": [run.folder for run in found],
    }


def _against(runs: Sequence[Entry], own: Sequence[Entry]) -> Difference | None:
    """The paired difference to the runs that were trained on the tested data set; None where there are none."""
    here, there = ([run.counts for run in group if run.counts is not None] for group in (runs, own))
    if not here or not there:
        return None
    kept = [_only(run, set(here[0].sample_id)) for run in there]  # near-duplicates may be left out here
    if any(why_not_paired(here[0], run) is not None for run in (*here[1:], *kept)):
        return None
    return compare(here, kept, [RANKED_BY])[RANKED_BY]


def _only(run: RunCounts, ids: set[str]) -> RunCounts:
    return run.rows(np.array([place for place, sample_id in enumerate(run.sample_id) if sample_id in ids], np.int64))


def _part(runs: Sequence[Entry], part: str) -> float | None:
    """The mean mIoU of the samples of shared or of unseen classes, from the scores by class; None without any."""
    values = []
    for run in runs:
        names = set((run.result.get("transfer") or {}).get(part) or ())
        by = run.result["metrics"][DEFAULT]["by"]["category"]
        scored = [(one["n"], one["miou"]) for name, one in by.items() if name in names]
        total = sum(count for count, _ in scored)
        values.append(sum(count * score for count, score in scored) / total if total else None)
    return over_seeds(values)[0]
