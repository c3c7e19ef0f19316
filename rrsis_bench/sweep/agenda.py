"""Chooses the cells of a sweep that are to be run, and their order. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.sweep import launchers
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.cells import STATES, Verdict, judge
from rrsis_bench.sweep.data_state import DataStates
from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.grid import Sweep


@dataclass(frozen=True)
class Agenda:
    """The cells of a sweep, their states, and those to run.

    Attributes:
        cells: the cells that `--only` selects, or all cells.
        verdicts: cell name -> verdict on its state.
        todo: cells to run, longest first.
        estimates: estimates of how long cells take.
    """

    cells: tuple[Cell, ...]
    verdicts: Mapping[str, Verdict]
    todo: tuple[Cell, ...]
    estimates: Estimates

    def summary(self) -> str:
        """The number of cells in each state, as one line."""
        counts = Counter(verdict.state for verdict in self.verdicts.values())
        states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        return f"{len(self.cells)} cell{'s' if len(self.cells) != 1 else ''}: {states}"


def survey(
    sweep: Sweep,
    only: Sequence[str] = (),
    force: bool = False,
    retry_failed: bool = False,
    compute: bool = True,
    data: DataStates | None = None,
) -> Agenda:
    """Judge the cells of a sweep and choose those to run.

    Args:
        sweep: the sweep.
        only: patterns (`*`, `?`) or parts of cell names; empty for all cells.
        force: run finished and failed cells anew.
        retry_failed: run failed cells again.
        compute: hash test splits whose hash is not in the cache.
        data: states of the data sets; None to read them.

    Raises:
        UsageError: a pattern fits no cell.
    """
    cells = select(sweep.cells, only)
    states = data if data is not None else DataStates(compute)
    verdicts = {cell.name: judge(cell, states) for cell in cells}
    _ask_schedulers(cells, verdicts)
    wanted = {"missing", "interrupted", "outdated"} | ({"failed"} if retry_failed else set())
    wanted |= {"failed", "done"} if force else set()
    estimates = Estimates([sweep.runs, Path("results/runs")])
    todo = estimates.longest_first([cell for cell in cells if verdicts[cell.name].state in wanted])
    return Agenda(cells, verdicts, tuple(todo), estimates)


def _ask_schedulers(cells: Sequence[Cell], verdicts: dict[str, Verdict]) -> None:
    """Ask the launchers' schedulers for their jobs, and change the verdict of queued cells whose job is gone."""
    queued = [(cell, state.launcher) for cell in cells if verdicts[cell.name].state == "queued"
              and (state := cell.folder.state()) is not None]  # fmt: skip
    known = {name: launchers.load(name).poll() for name in {name for _, name in queued if name in launchers.LAUNCHERS}}
    for cell, launcher in queued:
        job, jobs = cell.folder.job(), known.get(launcher)
        if jobs is None or not job or job in jobs:
            verdicts[cell.name] = Verdict("queued", f"job {job or '(just submitted)'}")
        else:
            verdicts[cell.name] = Verdict("interrupted", f"its job {job} has left the queue")


def select(cells: Sequence[Cell], only: Sequence[str]) -> tuple[Cell, ...]:
    """The cells whose names fit any of the patterns; all cells if there is no pattern.

    Raises:
        UsageError: a pattern fits no cell.
    """
    chosen: set[str] = set()
    for pattern in only:
        fitting = {cell.name for cell in cells if pattern in cell.name or fnmatchcase(cell.name, pattern)}
        if not fitting:
            parts = {part for cell in cells for part in (cell.dataset, cell.method, f"seed{cell.seed}", cell.name)}
            raise UsageError(f"--only {pattern} fits no cell.{did_you_mean(pattern, sorted(parts))}")
        chosen |= fitting
    return tuple(cell for cell in cells if not only or cell.name in chosen)
