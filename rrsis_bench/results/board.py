"""What the leaderboards say, before it is said in any format: pure functions of result files.

A board is a data set's page; it holds one table per split and kind, so that kinds never mix. Rows are methods, averaged
over seeds. Ranks order a table by mean mIoU, best first; equal means share a rank, rows without a mIoU have none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from statistics import fmean, stdev
from typing import Any

from rrsis_bench import registry
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.results.record import KINDS, find_results, is_synthetic, read_result

SMOKE = "smoke"
REAL = {"rrsisd": "RRSIS-D", "refsegrs": "RefSegRS", "risbench": "RISBench"}
"""Boards that exist before anyone has a result for them."""

SHOWN = ("miou", "oiou", "pr50", "pr70", "pr90")
"""Metrics the tables show, under `native-v1`."""

EFFICIENCY = ("trainable_parameters", "parameters", "gflops", "latency_ms", "memory_mb")
"""Fields of a result's `efficiency` block that the tables show; latency is p50 at batch 1, memory peak at inference."""

CARD_FIELDS = ("title", "venue", "year", "encoders", "fidelity")


@dataclass(frozen=True)
class Run:
    """One result file: its folder relative to the results, and its content."""

    folder: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A method in a table. Whatever is not known is None, never 0.

    Attributes:
        rank: place in the table; None without a mIoU.
        method: registry name.
        variant: which of the method's variants.
        card: title, venue, year, encoders and fidelity, as far as known.
        mean: metric -> mean over seeds.
        sd: metric -> standard deviation over seeds (ddof 1); None for a single seed.
        interval: metric -> 95 % bounds over images, averaged over seeds.
        control: mean ratio of oIoU with permuted expressions to oIoU.
        n_seeds: number of runs.
        efficiency: the fields of `EFFICIENCY`.
        selected_on: split the checkpoint was chosen on.
        runs: folders of the runs.
    """

    rank: int | None
    method: str
    variant: str
    card: Mapping[str, str | None]
    mean: Mapping[str, float | None]
    sd: Mapping[str, float | None]
    interval: Mapping[str, tuple[float, float] | None]
    control: float | None
    n_seeds: int
    efficiency: Mapping[str, float | None]
    selected_on: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The rows of one kind on one split of one data set.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        kind: kind of every row.
        n_samples: numbers of samples scored; more than one if the rows differ, which the page then says.
        contents: content hashes of the data scored; likewise.
        rows: best first.
    """

    dataset: str
    split: str
    kind: str
    n_samples: tuple[int, ...]
    contents: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Board:
    """A page: name (of its files), title, a notice to show above the tables, and the tables."""

    name: str
    title: str
    notice: str
    tables: tuple[Table, ...]


def runs_folder(results: Path) -> Path:
    """Where result files lie: `<results>/runs`, or the folder itself where there is none (such as `runs`)."""
    inner = results / "runs"
    return inner if inner.is_dir() else results


def collect(results: Path) -> tuple[list[Run], list[str]]:
    """Read all results under a folder.

    Returns:
        the sound ones, and a sentence for each that is kept out: truncated, edited by hand, of a kind its data set
        forbids, in another data set's folder, or a copy of another.
    """
    runs: list[Run] = []
    warnings: list[str] = []
    seen: dict[str, str] = {}
    for path in find_results([runs_folder(results)]):
        folder = PurePosixPath(path.parent.relative_to(results).as_posix())
        try:
            result = read_result(path)
            _check_place(path, folder, result)
        except UserError as error:
            warnings.append(str(error))
            continue
        first = seen.setdefault(result["sha256"], str(folder))
        if first != str(folder):
            warnings.append(f"{path} is a copy of the result in {first}; only that one is counted.")
            continue
        runs.append(Run(str(folder), result))
    return runs, warnings


def _check_place(path: Path, folder: PurePosixPath, result: Mapping[str, Any]) -> None:
    """Raise UserError if a result lacks what a row needs, or lies in another data set's folder."""
    try:
        name = result["dataset"]["name"]
        _ = (result["dataset"]["split"], result["dataset"]["n_samples"], result["method"]["name"])
        _ = (result["method"]["variant"], result["metrics"][DEFAULT]["miou"]["value"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a complete result: {error} is missing. Test the run again.") from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{path}: '{name}' cannot name a data set. Test the run again under another name.")
    # <dataset>/<method>@<variant>/seed<k>
    if len(folder.parts) >= 3 and re.fullmatch(r"seed\d+", folder.name) and folder.parts[-3] != name:
        raise UserError(
            f"{path} lies in the folder of '{folder.parts[-3]}' but says it is of '{name}'. Move it to its place."
        )


def build_boards(runs: Sequence[Run]) -> list[Board]:
    """All boards, smoke first, then the real data sets, then any other by name."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        dataset = run.result["dataset"]
        synthetic = is_synthetic(dataset)
        if synthetic != (run.result["kind"] == SMOKE) or (not synthetic and dataset["name"] == SMOKE):
            continue  # `collect` has refused and named it; a caller's own list gets no further either.
        by_name[SMOKE if synthetic else dataset["name"]].append(run)
    others = sorted(set(by_name) - set(REAL) - {SMOKE})
    return [make_board(name, by_name[name]) for name in (SMOKE, *REAL, *others)]


def make_board(name: str, runs: Sequence[Run] = ()) -> Board:
    """A board with its title and notice; empty without runs."""
    return Board(name, _title(name), _notice(name), tuple(_tables(runs)))


def _title(name: str) -> str:
    return "Smoke: the synthetic split" if name == SMOKE else REAL.get(name, name)


def _notice(name: str) -> str:
    if name == SMOKE:
        return (
            "Drawn scenes, tiny networks, minutes of training: this table shows that the suite works. "
            "It says nothing about how methods compare on real imagery."
        )
    return "" if name in REAL else "Development data: a small set to work with, not a benchmark of the field."


def _tables(runs: Iterable[Run]) -> list[Table]:
    parts: dict[tuple[str, int, str], list[Run]] = defaultdict(list)
    for run in runs:
        dataset = run.result["dataset"]
        parts[dataset["name"], KINDS.index(run.result["kind"]), dataset["split"]].append(run)
    return [
        Table(
            dataset=name,
            split=split,
            kind=KINDS[kind],
            n_samples=tuple(sorted({run.result["dataset"]["n_samples"] for run in members})),
            contents=tuple(sorted({str(run.result["dataset"].get("content_hash") or "") for run in members} - {""})),
            rows=_rows(members),
        )
        for (name, kind, split), members in sorted(parts.items())
    ]


def _rows(runs: Iterable[Run]) -> tuple[Row, ...]:
    groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        method = run.result["method"]
        groups[method["name"], method["variant"], str(run.result.get("selected_on") or "")].append(run)
    rows = [_row(members) for _, members in sorted(groups.items())]
    rows.sort(key=lambda row: (row.mean["miou"] is None, -(row.mean["miou"] or 0.0), row.method, row.variant))
    values = [row.mean["miou"] for row in rows]
    return tuple(replace(row, rank=_rank(value, values)) for row, value in zip(rows, values, strict=True))


def _rank(value: float | None, values: Iterable[float | None]) -> int | None:
    return None if value is None else 1 + sum(other is not None and other > value for other in values)


def _row(runs: Sequence[Run]) -> Row:
    ordered = sorted(runs, key=lambda run: (len(run.folder), run.folder))
    results = [run.result for run in ordered]
    blocks = [result["metrics"][DEFAULT] for result in results]
    values = {name: _known(block.get(name, {}).get("value") for block in blocks) for name in SHOWN}
    bounds = {name: [block.get(name, {}).get("interval") for block in blocks] for name in ("miou", "oiou")}
    controls = _known((result.get("language_control") or {}).get("oiou_ratio") for result in results)
    costs = {name: _known((result.get("efficiency") or {}).get(name) for result in results) for name in EFFICIENCY}
    whole = len(results)
    return Row(
        rank=None,
        method=results[0]["method"]["name"],
        variant=results[0]["method"]["variant"],
        card=_card(results[0]["method"]),
        mean={name: fmean(known) if len(known) == whole else None for name, known in values.items()},
        sd={name: stdev(known) if 1 < len(known) == whole else None for name, known in values.items()},
        interval={
            name: (fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)) if all(pairs) else None
            for name, pairs in bounds.items()
        },
        control=fmean(controls) if controls and len(controls) == whole else None,
        n_seeds=whole,
        efficiency={name: fmean(known) if known else None for name, known in costs.items()},
        selected_on=str(results[0].get("selected_on") or ""),
        runs=tuple(run.folder for run in ordered),
    )


def _known(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _card(method: Mapping[str, Any]) -> dict[str, str | None]:
    """What is known of a method: what its result says, and for the rest what its card says if it is installed."""
    try:
        card = registry.card(method["name"])
    except UserError:
        card = {}
    found = {}
    # Tables show a method's short name; a card's `title` is that of its paper.
    card = {**card, "title": card.get("name") or card.get("title")}
    for name in CARD_FIELDS:
        value = method.get(name, card.get(name))
        if isinstance(value, Mapping):
            # By variant ({tiny: ..., base: ...}), or by role ({visual: ..., text: ...}).
            value = value[method["variant"]] if method["variant"] in value else [str(part) for part in value.values()]
        if isinstance(value, list | tuple):
            value = " + ".join(map(str, value))
        found[name] = None if value in (None, "") else str(value)
    return found
