"""Tables of results that no ordinary board takes: those under perturbations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from rrsis_bench.boards.rows import RANKED_BY, Entry, card_of, over_seeds
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.run.folder import PERTURBED
from rrsis_bench.run.seal import KINDS
from rrsis_bench.stats.drops import SeedRuns, relative_drops

ROBUSTNESS = "robustness"


@dataclass(frozen=True)
class BesideTable:
    """A table whose rows are plain values by name.

    Attributes:
        caption: what it is a table of.
        labels: what its columns differ in, such as perturbations.
        rows: best first.
        remarks: sentences to stand below it.
    """

    caption: str
    labels: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...] = ()


def clean_folder(entry: Entry) -> str | None:
    """The folder of the clean result that a perturbed one is filed under; None for a result that is not filed so."""
    folder = PurePosixPath(entry.folder)
    return str(folder.parent.parent) if folder.parent.name == PERTURBED else None


def why_not_under(entry: Entry, clean: Entry | None) -> str | None:
    """Say why a perturbed result cannot stand beside the result it is filed under; None if it can."""
    if clean is None:
        return f"the result of {entry.folder} has no result of the split itself above it. Test the run too."
    if entry.result["method"] != clean.result["method"] or _training(entry) != _training(clean):
        return f"{entry.folder} is not of the training whose result lies above it. Test the run under it again."
    if entry.counts is not None and clean.counts is not None:
        areas = dict(zip(clean.counts.sample_id, clean.counts.counts[:, 0].tolist(), strict=True))
        here = zip(entry.counts.sample_id, entry.counts.counts[:, 0].tolist(), strict=True)
        if any(areas.get(sample_id) != area for sample_id, area in here):
            return f"{entry.folder} is of other samples than the result above it. Test both again."
    return None


def _training(entry: Entry) -> dict[str, Any]:
    """What a result says of its training, without its time, which a later test counts to the end of the training."""
    return {key: value for key, value in (entry.result.get("training") or {}).items() if key != "seconds"}


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
    parts: dict[tuple[str, int, str], list[Entry]] = defaultdict(list)
    for run in runs:
        if run.folder in perturbed and "perturbation" not in run.result:
            dataset = run.result["dataset"]
            parts[dataset["name"], KINDS.index(run.result["kind"]), dataset["split"]].append(run)
    return [_table(key, members, perturbed) for key, members in sorted(parts.items())]


def _table(
    key: tuple[str, int, str], members: Sequence[Entry], perturbed: Mapping[str, Mapping[str, Entry]]
) -> BesideTable:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for run in members:
        method = run.result["method"]
        groups["\0".join((method["name"], method["variant"], str(run.result.get("selected_on") or "")))].append(run)
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
    samples = " or ".join(f"{count:,}" for count in sorted({run.result["dataset"]["n_samples"] for run in members}))
    caption = f"{key[0]}, {key[2]} split, {KINDS[key[1]]} ({samples} samples)"
    return BesideTable(caption, tuple(labels), tuple(rows), tuple(remarks))


def _mean(runs: Iterable[Entry | None]) -> float | None:
    values = [None if run is None else run.result["metrics"][DEFAULT][RANKED_BY]["value"] for run in runs]
    return over_seeds(values)[0]
