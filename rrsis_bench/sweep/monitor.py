"""Shows a running sweep: a live table on a terminal, one line per event in a file or a pipe. No torch."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.cells import judge
from rrsis_bench.sweep.data_state import DataStates
from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.run_cell import HELD, INTERRUPTED, tail
from rrsis_bench.sweep.times import duration

_SHOWN_LINES = 5


class Monitor:
    """Prints the events of a sweep's cells, and on a terminal a live table of the running ones.

    Args:
        total: number of cells to run.
        estimates: estimates of how long cells take.
        console: console to print to; None for standard output.
    """

    def __init__(self, total: int, estimates: Estimates, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, markup=False, soft_wrap=True)
        self.total, self.estimates, self.ended = total, estimates, 0
        self.running: dict[str, tuple[Cell, str, float]] = {}
        self._live = Live(console=self.console, refresh_per_second=2, transient=True) if self._watched() else None
        if self._live is not None:
            self._live.start()

    def _watched(self) -> bool:
        return self.console.is_terminal and self.total > 0

    def start(self, cell: Cell, where: str) -> None:
        """Print that a cell was started, and where."""
        self.running[cell.name] = (cell, where, time.monotonic())
        seconds = self.estimates.seconds(cell)
        about = "" if seconds is None else f", about {duration(seconds)}"
        self.note(f"start   {cell.name} on {where}{about}")

    def end(self, cell: Cell, code: int, seconds: float) -> None:
        """Print that a cell's process ended, with its scores or the end of its log."""
        self.running.pop(cell.name, None)
        self.ended += 1
        count = f"[{self.ended}/{self.total}]"
        if code == HELD:
            self.note(f"held    {cell.name} {count}: another process runs it")
        elif code == INTERRUPTED:
            self.note(f"stopped {cell.name} {count} after {duration(seconds)}; the next sweep continues it")
        elif code == 0:
            verdict = judge(cell, DataStates(compute=False))
            scores = verdict.scores
            shown = "" if scores is None else f", mIoU {100 * scores[0]:.2f}, oIoU {100 * scores[1]:.2f}"
            self.note(f"done    {cell.name} {count} in {duration(seconds)}{shown}")
        else:
            state, log = cell.folder.state(), cell.folder.log_path
            reason = state.message if state is not None and state.message else f"exit code {code}"
            self.note(f"FAILED  {cell.name} {count} after {duration(seconds)}: {reason}")
            for line in tail(log)[-_SHOWN_LINES:]:
                self.note(f"        | {line[:300]}")
            self.note(f"        log: {log}")

    def note(self, text: str) -> None:
        """Print one line that stays on the screen."""
        self.console.print(text, soft_wrap=True)

    def tick(self) -> None:
        """Redraw the live table."""
        if self._live is not None:
            self._live.update(self._table())

    def close(self) -> None:
        """Remove the live table."""
        if self._live is not None:
            self._live.stop()

    def _table(self) -> Table:
        waiting = self.total - self.ended - len(self.running)
        table = Table(title=f"{self.ended} of {self.total} ended, {waiting} waiting", title_justify="left")
        for column in ("cell", "on", "for", "of about", "last line of its log"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for cell, where, started in self.running.values():
            seconds = self.estimates.seconds(cell)
            about = "" if seconds is None else duration(seconds)
            last = (tail(cell.folder.log_path, 2048) or [""])[-1]
            table.add_row(cell.name, where, duration(time.monotonic() - started), about, last)
        return table
