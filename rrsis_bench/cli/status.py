"""`rrsis-bench status`: the state of each cell of a sweep. No torch."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from rrsis_bench import terminal
from rrsis_bench.cli._words import as_path
from rrsis_bench.terminal import say

if TYPE_CHECKING:
    from rrsis_bench.sweep.agenda import Agenda
    from rrsis_bench.sweep.cell import Cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = (
        "States of a cell. done: finished with these settings and data. running: a process works on it. queued: it "
        "waits in a scheduler's queue. failed: cell.log in its run folder says why. interrupted: the next sweep "
        "continues it. outdated: made with other settings or data; the next sweep runs it anew. missing: never started."
    )
    parser.add_argument("sweep", metavar="SWEEP", help="a YAML file, or the name of one in configs/sweeps (tiny)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only cells whose names contain PATTERN; repeatable",
    )
    parser.add_argument("--runs", type=as_path, metavar="DIR", help="folder of the runs; default: $RRSIS_RUNS or runs")
    parser.add_argument("--json", action="store_true", help="print JSON, one entry per cell")


def run(args: argparse.Namespace) -> int:
    """Show the cells' states, as a table or as JSON."""
    from rrsis_bench.sweep.agenda import survey
    from rrsis_bench.sweep.grid import read_sweep

    agenda = survey(read_sweep(args.sweep, args.runs), args.only, compute=False)
    if args.json:
        print(json.dumps([_entry(agenda, cell) for cell in agenda.cells], indent=2))
        return 0
    _grid(agenda)
    return 0


def _entry(agenda: Agenda, cell: Cell) -> dict[str, object]:
    verdict = agenda.verdicts[cell.name]
    return {
        "cell": cell.name,
        "dataset": cell.dataset,
        "method": cell.method,
        "variant": cell.variant,
        "seed": cell.seed,
        "state": verdict.state,
        "detail": verdict.detail,
        "seconds": verdict.seconds,
        "estimated_seconds": agenda.estimates.seconds(cell) if verdict.state != "done" else None,
        "folder": str(cell.folder),
        "command": ["rrsis-bench", *cell.words],
    }


def _grid(agenda: Agenda) -> None:
    from rich.table import Table

    from rrsis_bench.sweep.times import duration

    seeds = sorted({cell.seed for cell in agenda.cells})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for cell in agenda.cells:
        rows.setdefault((cell.dataset, f"{cell.method}@{cell.variant}"), {})[cell.seed] = _short(agenda, cell)
    table = Table()
    for column in ("data set", "method", *(f"seed {seed}" for seed in seeds)):
        table.add_column(column)
    for (dataset, label), states in rows.items():
        table.add_row(dataset, label, *(states.get(seed, "") for seed in seeds))
    terminal.show(table)
    for cell in agenda.cells:
        verdict = agenda.verdicts[cell.name]
        if verdict.detail:
            say(f"{verdict.state}: {cell.name}: {verdict.detail}", "    ")
        if verdict.state == "failed":
            say(f"    log: {cell.folder.log_path}", "    ")
    left = [agenda.estimates.seconds(cell) for cell in agenda.todo]
    known = [seconds for seconds in left if seconds is not None]
    say(agenda.summary())
    if left:
        unknown = len(left) - len(known)
        also = f", and {unknown} of unknown length" if unknown else ""
        about = f"about {duration(sum(known))} of work is left" if known else "work is left"
        say(f"{about}{also}.")


def _short(agenda: Agenda, cell: Cell) -> str:
    """A cell's state; for a finished cell also its oIoU in percent."""
    verdict = agenda.verdicts[cell.name]
    return f"done {100 * verdict.scores[1]:.1f}" if verdict.scores is not None else verdict.state
