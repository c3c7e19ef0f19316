"""`rrsis-bench sweep`: run methods x data sets x seeds, skipping what is finished. No torch in this process."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rrsis_bench.cli._words import as_int, as_path
from rrsis_bench.kinds import whole
from rrsis_bench.sweep.launchers import LAUNCHERS, load
from rrsis_bench.terminal import command, say

if TYPE_CHECKING:
    from pathlib import Path

    from rrsis_bench.sweep.agenda import Agenda
    from rrsis_bench.sweep.launchers.base import Launcher

EPILOG = """Each cell is an ordinary `rrsis-bench fit` in a process of its own: you can repeat it by hand.
A cell that trains nothing is a `rrsis-bench test`.
The sweep skips finished cells. It runs a cell anew if its settings or data have changed, and moves the old files to
<run folder>.replaced-1. A cell that was stopped continues at its last checkpoint. A cell that fails does not stop the
others; its log is cell.log in its run folder. On Ctrl-C, the running cells save a checkpoint and end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = EPILOG
    parser.add_argument("sweep", metavar="SWEEP", help="a YAML file, or the name of one in configs/sweeps (tiny)")
    parser.add_argument(
        "--launcher",
        choices=tuple(LAUNCHERS),
        default="local",
        help="; ".join(f"{name}: {what}" for name, (_, what) in LAUNCHERS.items()),
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only cells whose names contain PATTERN; repeatable",
    )
    parser.add_argument(
        "--workers", type=as_int(whole(1)), metavar="N", help="cells at a time; default: one per GPU, one on a CPU"
    )
    parser.add_argument("--runs", type=as_path, metavar="DIR", help="folder of the runs; default: $RRSIS_RUNS or runs")
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--force", action="store_true", help="run all cells anew; the sweep moves old files aside")
    parser.add_argument("--dry-run", action="store_true", help="show the cells that would run, in order; run nothing")


def run(args: argparse.Namespace) -> int:
    """Run the cells that are not finished.

    Returns:
        exit code 1 if a cell failed, else 0.
    """
    from rrsis_bench.files import prove_writable
    from rrsis_bench.sweep.agenda import survey
    from rrsis_bench.sweep.grid import read_sweep
    from rrsis_bench.sweep.launchers.base import Orders

    sweep = read_sweep(args.sweep, args.runs)
    agenda = survey(sweep, args.only, args.force, args.retry_failed)
    anew = frozenset(cell.name for cell in agenda.todo if agenda.verdicts[cell.name].state in {"outdated", "done"})
    if args.force:
        anew = frozenset(cell.name for cell in agenda.todo)
    launcher = load(args.launcher)(Orders(sweep, agenda.estimates, anew, args.force, args.workers))
    if not launcher.only_lines or args.dry_run:
        _show(agenda)
    if args.dry_run:
        return _dry_run(agenda, launcher, sweep.path)
    if not agenda.todo:
        return 0 if launcher.only_lines else _nothing(agenda)
    if not launcher.only_lines:
        prove_writable(*(cell.folder.log_path for cell in agenda.todo))
    codes = launcher.start(agenda.todo)
    return _conclude(survey(sweep, args.only, compute=False), codes, args.sweep) if codes else 0


def _show(agenda: Agenda) -> None:
    say(agenda.summary())
    for cell in agenda.cells:
        verdict = agenda.verdicts[cell.name]
        if verdict.state in {"failed", "outdated"} and (cell in agenda.todo or verdict.state == "failed"):
            say(f"{verdict.state}: {cell.name}: {verdict.detail}", "    ")


def _dry_run(agenda: Agenda, launcher: Launcher, path: Path) -> int:
    from rrsis_bench.sweep.times import duration, stated_forecast

    for cell, line in zip(agenda.todo, launcher.lines(agenda.todo), strict=True):
        seconds = agenda.estimates.seconds(cell)
        about = "of unknown length" if seconds is None else f"about {duration(seconds)}"
        say(f"would run {cell.name} ({agenda.verdicts[cell.name].state}, {about})", "    ")
        shell, _, job = line.partition("\n")
        command(shell, "    ")
        if job:
            say(job, "        ")
    known = [seconds for cell in agenda.todo if (seconds := agenda.estimates.seconds(cell)) is not None]
    if known:
        rest = len(agenda.todo) - len(known)
        note = f"; {rest} cells of unknown length (rrsis-bench forecast)" if rest else ""
        say(f"together about {duration(sum(known))}, one after the other{note}")
    if lines := stated_forecast(path):
        say(f"{path.name} states:")
        for line in lines:
            say(f"  {line}", "    ")
    return 0 if agenda.todo else _nothing(agenda)


def _nothing(agenda: Agenda) -> int:
    failed = sum(verdict.state == "failed" for verdict in agenda.verdicts.values())
    print("nothing to do" + (": failed cells are run again with --retry-failed." if failed else "."))
    return 1 if failed else 0


def _conclude(after: Agenda, codes: Mapping[str, int], name: str) -> int:
    from rrsis_bench.sweep.run_cell import HELD, INTERRUPTED

    print(after.summary())
    failed = [name for name, code in codes.items() if code not in {0, HELD, INTERRUPTED}]
    if failed:
        print(f"run failed cells again: rrsis-bench sweep {name} --retry-failed")
    elsewhere = [name for name, code in codes.items() if code == HELD]
    if elsewhere:
        print(f"run by another process: {', '.join(elsewhere)}")
    return 1 if failed else 0
