"""Builds the boards, which no format has set yet: pure functions of committed files.

A board is a data set's page. It holds one table for each split and kind of measured results, and one for each split of
what is published: kinds never mix. Published numbers have no rank, because each paper scores by rules of its own.
"""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from rrsis_bench.boards import published
from rrsis_bench.boards.beside import (
    ROBUSTNESS,
    TRANSFER,
    BesideTable,
    clean_folder,
    robustness_tables,
    transfer_tables,
    why_not_under,
)
from rrsis_bench.boards.gpus import gpu_tables
from rrsis_bench.boards.published import Published, PublishedCost, PublishedRow
from rrsis_bench.boards.rows import BESIDE, NEEDED, RANKED_BY, Entry, Table, cost_tables, ordinary, score_tables
from rrsis_bench.cost import measured
from rrsis_bench.cost.measured import Measured
from rrsis_bench.data.catalogue import benchmarks, describe
from rrsis_bench.data.empty_truth import only_generalised
from rrsis_bench.data.info import Kind
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import DEFAULT
from rrsis_bench.results import gallery
from rrsis_bench.results.samples import read_native
from rrsis_bench.run import folder as run_folder
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.seal import is_synthetic

SMOKE, EFFICIENCY = "smoke", "efficiency"
NOTICES: Mapping[Kind, str] = {
    "benchmark": "",
    "development": "Development data: a small set to work with, not a benchmark of the field.",
    "synthetic": "Drawn scenes: nothing here says how methods compare on real imagery.",
    "own": "A data set of somebody's own: its rows compare with each other only.",
    "unknown": "Unknown data set: no configuration of this name says what it is.",
}
"""What a page says above its tables, by the kind of its data set."""

NOTICE_ROBUST = (
    "What perturbations of images and words take from a score. Tables of drawn scenes say nothing about real imagery."
)
NOTICE_TRANSFER = "What a run scores on other data sets than its own."
NOTICE_DRAWN = (
    "Some of these are drawn scenes: their numbers show that the suite works, and say nothing of real imagery."
)
NOTHING = Published({}, ())


@dataclass(frozen=True, eq=False)
class Board:
    """A page.

    Attributes:
        name: of its files.
        title: its heading.
        notice: to show above the tables.
        tables: of what was measured.
        published: what is published on the data set.
        costs: what is published of methods' costs; on the efficiency board only.
        layout: what the tables show.
        beside: tables of results that no ordinary board takes, and of what was measured on GPUs.
        pictures: row name -> sample id -> COCO RLE counts, for the gallery.
        made: when its results were made, and by which versions; "" without results.
    """

    name: str
    title: str
    notice: str
    tables: tuple[Table, ...]
    published: tuple[PublishedRow, ...] = ()
    costs: tuple[PublishedCost, ...] = ()
    layout: Literal["scores", "costs", "robustness", "transfer"] = "scores"
    beside: tuple[BesideTable, ...] = ()
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    made: str = ""

    @property
    def measured(self) -> int:
        """Number of measured rows."""
        return sum(len(table.rows) for table in self.tables) + sum(len(table.rows) for table in self.beside)


def runs_folder(results: Path) -> Path:
    """Find where result files lie: in `<results>/runs`, or in the folder itself where it holds no `runs`."""
    inner = results / "runs"
    return inner if inner.is_dir() else results


def collect(results: Path) -> tuple[list[Entry], list[str]]:
    """Read all results under a folder.

    Returns:
        the sound results, and a sentence for each one that is kept out: truncated, edited by hand, of a kind its data
        set forbids, in another data set's folder, without its samples, or a copy of another. Pictures of other masks
        than the scored ones are left out and named too.
    """
    runs: list[Entry] = []
    warnings: list[str] = []
    seen: dict[str, str] = {}
    ids: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path in run_folder.find([runs_folder(results)]):
        run = RunFolder(path.parent)
        folder = PurePosixPath(path.parent.relative_to(results).as_posix())
        try:
            result = run.result(brief=True)
            _check_place(path, folder, result)
            _check_status(path, result)
            if result["sha256"] in seen:
                raise UserError(f"{path} is a copy of the result in {seen[result['sha256']]}; only that is counted.")
            native = read_native(run, result["samples_sha256"], str(folder))
            if only_generalised(result["dataset"]):
                native = native.rows(np.flatnonzero(native.counts[:, 0] > 0))
            seen[result["sha256"]] = str(folder)
        except UserError as error:
            warnings.append(str(error))
            continue
        # Thousands of runs share a few splits: their ids are kept in memory once.
        names = [ids.setdefault(column, column) for column in (native.sample_id, native.image_id)]
        runs.append(
            Entry(
                str(folder),
                {key: value for key, value in result.items() if key in NEEDED},
                replace(native, sample_id=names[0], image_id=names[1]),
                _pictures(run, result, warnings),
            )
        )
    return _placed(runs, warnings), warnings


def _placed(runs: Sequence[Entry], warnings: list[str]) -> list[Entry]:
    """Leave out, and name in the warnings, the results filed under a run that do not belong to it."""
    clean = {run.folder: run for run in ordinary(runs)}
    kept = []
    for run in runs:
        reason = None if run.folder in clean else why_not_under(run, clean.get(clean_folder(run) or ""))
        warnings += [] if reason is None else [reason]
        kept += [run] if reason is None else []
    return kept


def _pictures(folder: RunFolder, result: Mapping[str, Any], warnings: list[str]) -> Mapping[str, str]:
    try:
        return gallery.read(folder, result["dataset"])
    except UserError as error:
        warnings.append(str(error))
        return {}


def _check_status(path: Path, result: Mapping[str, Any]) -> None:
    """Raise UserError for a result that is not of a whole split, or of a run that continued with other settings."""
    if result["status"] == "partial":
        raise UserError(f"{path} is of a part of its split. Test the whole split.")
    if result["status"] != "complete":
        raise UserError(f"{path} is of a run that continued with other data or settings. Train it anew.")


def _check_place(path: Path, folder: PurePosixPath, result: Mapping[str, Any]) -> None:
    """Raise UserError if a result lacks what a row needs, or lies in another data set's folder."""
    try:
        name = result["dataset"]["name"]
        _ = (result["dataset"]["split"], result["dataset"]["n_samples"], result["method"]["name"])
        _ = (result["method"]["variant"], result["metrics"][DEFAULT][RANKED_BY]["value"], result["samples_sha256"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a complete result: {error} is missing. Test the run again.") from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in (EFFICIENCY, ROBUSTNESS, TRANSFER):
        raise UserError(f"{path}: '{name}' cannot name a data set. Test the run again under another name.")
    # <dataset>/<method>@<variant>/seed<k>
    if len(folder.parts) >= 3 and re.fullmatch(r"seed\d+", folder.name) and folder.parts[-3] != name:
        raise UserError(
            f"{path} lies in the folder of '{folder.parts[-3]}' but says it is of '{name}'. Move it to its place."
        )


def build_boards(runs: Sequence[Entry], numbers: Published = NOTHING, on_gpus: Sequence[Measured] = ()) -> list[Board]:
    """Build all boards: smoke, the benchmarks, any other data set by name, efficiency.

    Args:
        runs: results from `collect`.
        numbers: what is published, from `published.read`.
        on_gpus: what was measured on GPUs, from `measured.read`.
    """
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for run in ordinary(runs):
        dataset = run.result["dataset"]
        synthetic = is_synthetic(dataset)
        misplaced = run.result["kind"] != "zero-shot" and synthetic != (run.result["kind"] == SMOKE)
        if misplaced or (not synthetic and dataset["name"] in (SMOKE, EFFICIENCY, ROBUSTNESS, TRANSFER)):
            continue  # `collect` has refused and named it; a caller's own list gets no further either.
        by_name[SMOKE if synthetic else dataset["name"]].append(run)
    # A benchmark has a board before anyone has a result for it.
    first = (SMOKE, *benchmarks())
    others = sorted(set(by_name) - set(first))
    boards = [make_board(name, by_name[name], numbers) for name in (*first, *others)]
    real = [run for name, members in by_name.items() if name != SMOKE for run in members]
    return [*boards, make_board(EFFICIENCY, real, numbers, on_gpus), *_beside(runs)]


def _beside(runs: Sequence[Entry]) -> list[Board]:
    """The boards of results that no ordinary board takes, as far as there are any."""
    perturbed, moved = ([run for run in runs if block in run.result] for block in BESIDE)
    found = []
    if tables := tuple(robustness_tables(runs)):
        made = _made(perturbed)
        found += [Board(ROBUSTNESS, "Robustness", NOTICE_ROBUST, (), layout="robustness", beside=tables, made=made)]
    if tables := tuple(transfer_tables(runs)):
        names = [{"name": run.result["transfer"]["trained_on"]} for run in moved]
        drawn = any(is_synthetic(one) for one in (*names, *(run.result["dataset"] for run in moved)))
        notice = f"{NOTICE_TRANSFER}{' ' + NOTICE_DRAWN if drawn else ''}"
        found += [Board(TRANSFER, "Transfer", notice, (), layout="transfer", beside=tables, made=_made(moved))]
    return found


def make_board(
    name: str, runs: Sequence[Entry] = (), numbers: Published = NOTHING, on_gpus: Sequence[Measured] = ()
) -> Board:
    """Build a board with its title and notice.

    Args:
        name: a data set's name, `smoke` or `efficiency`.
        runs: its results.
        numbers: what is published.
        on_gpus: what was measured on GPUs; for the efficiency board.
    """
    if name == EFFICIENCY:
        costs = tuple(cost_tables(runs))
        beside, made = tuple(gpu_tables(on_gpus)), _made(runs)
        return Board(name, "Efficiency", _notice(name), costs, (), numbers.costs, "costs", beside=beside, made=made)
    tables, printed = tuple(score_tables(runs, numbers.rows)), numbers.rows.get(name, ())
    pictures = _gallery(runs, tables)
    return Board(name, _title(name), _notice(name), tables, printed, pictures=pictures, made=_made(runs))


def _made(runs: Sequence[Entry]) -> str:
    """Say when results were made and by which versions, as far as they say it themselves."""
    blocks = [run.result.get("provenance") or {} for run in runs]
    days = sorted(str(block["finished"])[:10] for block in blocks if block.get("finished"))
    programs = []
    for name, found in (
        ("rrsis_bench", {block.get("package") for block in blocks}),
        ("torch", {(block.get("versions") or {}).get("torch") for block in blocks}),
    ):
        if known := sorted(str(version) for version in found if version):
            programs.append(f"{name} {' and '.join(known)}")
    when = f" {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    by = f" with {', '.join(programs)}" if programs else ""
    return f"Measured{when}{by}." if when or by else ""


def _gallery(runs: Sequence[Entry], tables: Sequence[Table]) -> dict[str, Mapping[str, str]]:
    """Choose the pictures of each row: those of its first seed that has any."""
    kept = {run.folder: run.pictures for run in runs if run.pictures}
    found: dict[str, Mapping[str, str]] = {}
    for row in (row for table in tables for row in table.rows):
        shown = next((kept[folder] for folder in row.runs if folder in kept), None)
        if shown is not None:
            found.setdefault(row.name, shown)
    return found


def _title(name: str) -> str:
    return "Smoke: the synthetic split" if name == SMOKE else describe(name).title


def _notice(name: str) -> str:
    if name == SMOKE:
        return (
            "Drawn scenes, tiny networks, minutes of training: this table shows that the suite works. "
            "It says nothing about how methods compare on real imagery."
        )
    if name == EFFICIENCY:
        return (
            "Costs of methods that were run on real data. Measured GFLOPs count a multiply-add as 2, published ones as "
            "1 wherever the source does; measured and published figures come from different machines."
        )
    return NOTICES[describe(name).kind]


def load(results: Path) -> tuple[list[Board], list[str]]:
    """Build all boards of a results folder, with a sentence for each result that is kept out.

    Raises:
        UserError: the published numbers cannot be read.
    """
    with _no_collector():
        runs, warnings = collect(results)
        on_gpus, unsound = measured.read(measured.folder_of(results))
        return build_boards(runs, published.read(published.folder_of(results)), on_gpus), [*warnings, *unsound]


@contextmanager
def _no_collector() -> Iterator[None]:
    """Stop Python's search for cycles, which would walk over millions of new objects that hold none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
