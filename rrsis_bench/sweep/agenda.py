"""Which cells of a sweep are to be run, and in what order. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.sweep import launchers
from rrsis_bench.sweep.cells import STATES, Verdict, judge
from rrsis_bench.sweep.data_state import DataStates
from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.grid import Cell, Sweep


@dataclass(frozen=True)
class Agenda:
    """A sweep looked at.

    Attributes:
        cells: those that were asked for.
        verdicts: cell name -> what has become of it.
        todo: those to run, longest first.
        estimates: of their lengths.
    """

    cells: tuple[Cell, ...]
    verdicts: Mapping[str, Verdict]
    todo: tuple[Cell, ...]
    estimates: Estimates

    def summary(self) -> str:
        """How many cells are in which state."""
        counts = Counter(verdict.state for verdict in self.verdicts.values())
        told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        return f"{len(self.cells)} cell{'s' if len(self.cells) != 1 else ''}: {told}"


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
        only: patterns (`*`, `?`) or parts of cell names; none for all cells.
        force: run finished and failed cells anew.
        retry_failed: run failed cells again.
        compute: hash data whose hash is not known yet.
        data: the data sets, where they were looked at before.

    Raises:
        UsageError: a pattern that fits no cell.
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
    """A cell whose job has left the queue without starting is not queued any more."""
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
    """The cells whose names fit any of the patterns.

    Raises:
        UsageError: a pattern that fits none.
    """
    chosen: set[str] = set()
    for pattern in only:
        fitting = {cell.name for cell in cells if pattern in cell.name or fnmatchcase(cell.name, pattern)}
        if not fitting:
            parts = {part for cell in cells for part in (cell.dataset, cell.method, f"seed{cell.seed}", cell.name)}
            raise UsageError(f"--only {pattern} fits no cell.{did_you_mean(pattern, sorted(parts))}")
        chosen |= fitting
    return tuple(cell for cell in cells if not only or cell.name in chosen)
