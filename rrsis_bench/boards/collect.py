"""Reads the results, audits and measurements of a folder, and keeps unsound ones out of the boards."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from rrsis_bench.boards import published
from rrsis_bench.boards.audits import collect_audits
from rrsis_bench.boards.beside import clean_folder, why_not_under
from rrsis_bench.boards.board import RESERVED, Board, build_boards
from rrsis_bench.boards.entries import NEEDED, Entry, is_ordinary, ordinary
from rrsis_bench.boards.rows import RANKED_BY
from rrsis_bench.cost import measured
from rrsis_bench.data.empty_truth import only_generalised
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import DEFAULT, GENERALISED
from rrsis_bench.results import explain, gallery
from rrsis_bench.results.samples import read_native
from rrsis_bench.run import folder as run_folder
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.paired import RunCounts

Found = TypeVar("Found")


def runs_folder(results: Path) -> Path:
    """Find where result files lie: in `<results>/runs`, or in the folder itself where it holds no `runs`."""
    inner = results / "runs"
    return inner if inner.is_dir() else results


def collect(results: Path) -> tuple[list[Entry], list[str]]:
    """Read all results under a folder.

    Returns:
        the sound results, and a sentence for each one that is kept out: truncated, edited by hand, of a kind its data
        set forbids, in another data set's folder, without its samples, a copy of another, or of a seed that its row
        has already. Pictures of other masks than the scored ones are left out and named too.
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
            whole = native = read_native(run, result["samples_sha256"], str(folder))
            if only_generalised(result["dataset"]):
                native = whole.rows(np.flatnonzero(whole.counts[:, 0] > 0))
            seen[result["sha256"]] = str(folder)
        except UserError as error:
            warnings.append(str(error))
            continue

        def shared(counts: RunCounts) -> RunCounts:
            # Thousands of runs share a few splits: their ids are kept in memory once.
            names = [ids.setdefault(column, column) for column in (counts.sample_id, counts.image_id)]
            return replace(counts, sample_id=names[0], image_id=names[1])

        runs.append(
            Entry(
                str(folder),
                {key: value for key, value in result.items() if key in NEEDED},
                shared(native),
                _further(gallery.read, warnings, run, result["dataset"]) or {},
                shared(replace(whole, protocol=GENERALISED)) if _is_generalised(result) else None,
                _further(explain.sample_measures, warnings, run, result) if _shows_detail(result) else None,
            )
        )
    return _placed(_each_seed_once(runs, warnings), warnings), warnings


def _each_seed_once(runs: Sequence[Entry], warnings: list[str]) -> list[Entry]:
    """Leave out, and name in the warnings, further results of a seed: a row shows mean and deviation over seeds.

    Of two results, the one in fewer folders counts.
    """
    first: dict[tuple[Any, ...], str] = {}
    out = set()
    for run in sorted(ordinary(runs), key=lambda run: (run.folder.count("/"), run.folder)):
        result, method, data = run.result, run.result["method"], run.result["dataset"]
        seed = (result.get("training") or {}).get("seed")
        row = (data["name"], data["split"], result["kind"], method["name"], method["variant"], result["selected_on"])
        if seed is not None and (other := first.setdefault((*row, seed), run.folder)) != run.folder:
            warnings.append(f"{run.folder} is of seed {seed}, as is {other}. A row counts each seed once.")
            out.add(run.folder)
    return [run for run in runs if run.folder not in out]


def _placed(runs: Sequence[Entry], warnings: list[str]) -> list[Entry]:
    """Leave out, and name in the warnings, the results filed under a run that do not belong to it."""
    clean = {run.folder: run for run in ordinary(runs)}
    kept = []
    for run in runs:
        reason = None if run.folder in clean else why_not_under(run, clean.get(clean_folder(run) or ""))
        warnings += [] if reason is None else [reason]
        kept += [run] if reason is None else []
    return kept


def _is_generalised(result: Mapping[str, Any]) -> bool:
    return only_generalised(result["dataset"]) and GENERALISED in result["metrics"]


def _shows_detail(result: Mapping[str, Any]) -> bool:
    return "detail" in result and is_ordinary(result)


def _further(read: Callable[..., Found], warnings: list[str], *arguments: Any) -> Found | None:
    """Read a file that only some runs have; if it is damaged, name it and keep the result."""
    try:
        return read(*arguments)
    except UserError as error:
        warnings.append(str(error))
        return None


def _check_status(path: Path, result: Mapping[str, Any]) -> None:
    """Raise UserError for a result of a part of a split, of changed settings, or of permuted expressions."""
    if result["status"] == "partial":
        raise UserError(f"{path} is of a part of its split. Test the whole split.")
    if result["status"] != "complete":
        raise UserError(
            f"{path} is of a run that continued with other data or settings, or whose expressions are permuted. Train "
            "it anew."
        )


def _check_place(path: Path, folder: PurePosixPath, result: Mapping[str, Any]) -> None:
    """Raise UserError if a result lacks what a row needs, or lies in another data set's folder."""
    try:
        name = result["dataset"]["name"]
        _ = (result["dataset"]["split"], result["dataset"]["n_samples"], result["method"]["name"])
        _ = (result["method"]["variant"], result["metrics"][DEFAULT][RANKED_BY]["value"], result["samples_sha256"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a complete result: {error} is missing. Test the run again.") from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in RESERVED:
        raise UserError(f"{path}: '{name}' cannot name a data set. Test the run again under another name.")
    # <dataset>/<method>@<variant>/seed<k>
    if len(folder.parts) >= 3 and re.fullmatch(r"seed\d+", folder.name) and folder.parts[-3] != name:
        raise UserError(
            f"{path} lies in the folder of '{folder.parts[-3]}' but says it is of '{name}'. Move it to its place."
        )


def load(results: Path) -> tuple[list[Board], list[str]]:
    """Build all boards of a results folder, with a sentence for each result that is kept out.

    Raises:
        UserError: the published numbers cannot be read.
    """
    with _no_collector():
        runs, warnings = collect(results)
        audits, bad = collect_audits(results)
        on_gpus, unsound = measured.read(measured.folder_of(results))
        numbers = published.read(published.folder_of(results))
        return build_boards(runs, numbers, audits, on_gpus), [*warnings, *bad, *unsound]


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
