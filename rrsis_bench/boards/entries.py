"""One result on a board, and the groups of results that tables and their rows are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rrsis_bench.results.explain import SampleMeasures
from rrsis_bench.run.seal import KINDS
from rrsis_bench.stats.paired import RunCounts

BESIDE = ("perturbation", "transfer")
"""Blocks of a result that no ordinary table takes."""

NEEDED = {
    "kind", "method", "dataset", "metrics", "selected_on", "language_control", "efficiency", "provenance", "training",
    *BESIDE,
}  # fmt: skip
"""What rows read of a result; of ten thousand results, the rest would fill the memory."""


@dataclass(frozen=True)
class Entry:
    """One result on a board.

    Attributes:
        folder: its folder, relative to the results.
        result: content of `result.json`.
        counts: its integers under `native-v1`; None if they are not to be ranked by.
        pictures: sample id -> COCO RLE counts of its predictions on the gallery's scenes.
        generalised: its integers under `generalised-v1`, with the samples without a target; None for other data sets.
        measures: what `test --detail` measured of each sample that `counts` holds; None without detail.
    """

    folder: str
    result: Mapping[str, Any]
    counts: RunCounts | None = None
    pictures: Mapping[str, str] | None = None
    generalised: RunCounts | None = None
    measures: SampleMeasures | None = None


def is_ordinary(result: Mapping[str, Any]) -> bool:
    """Whether an ordinary table takes a result."""
    return not any(name in result for name in BESIDE)


def ordinary(runs: Iterable[Entry]) -> list[Entry]:
    """Leave out the results that only boards of their own show."""
    return [run for run in runs if is_ordinary(run.result)]


def by_split(runs: Iterable[Entry]) -> dict[tuple[str, str, str], list[Entry]]:
    """The results of each table: (data set, kind, split) -> results. Test comes before val: the field reports it."""
    parts: dict[tuple[str, int, str], list[Entry]] = defaultdict(list)
    for run in runs:
        dataset = run.result["dataset"]
        parts[dataset["name"], KINDS.index(run.result["kind"]), dataset["split"]].append(run)
    order = sorted(parts, key=lambda part: (part[:2], {"test": 0, "val": 1}.get(part[2], 2), part[2]))
    return {(name, KINDS[kind], split): parts[name, kind, split] for name, kind, split in order}


def by_method(runs: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The results of each row, by key: the seeds of one variant whose checkpoints the same split chose."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for run in runs:
        method = run.result["method"]
        groups["\0".join((method["name"], method["variant"], str(run.result.get("selected_on") or "")))].append(run)
    return dict(sorted(groups.items()))
