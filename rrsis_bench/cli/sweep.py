"""`rrsis-bench sweep`: run methods x data sets x seeds, skipping what is finished. No torch in this process."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rrsis_bench.errors import UsageError

if TYPE_CHECKING:
    from rrsis_bench.sweep.agenda import Agenda
    from rrsis_bench.sweep.grid import Sweep

EPILOG = """each cell is an ordinary `rrsis-bench fit` in a process of its own, so that it can be repeated by hand.
Finished cells are skipped; one whose settings or data have changed since is run anew, and its old files are moved to
<run folder>.replaced-1. A cell that was stopped continues at its last checkpoint. A cell that fails costs only itself:
its log is cell.log in its run folder. Ctrl-C lets the running cells save and end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.epilog = EPILOG
    parser.add_argument("sweep", metavar="SWEEP", help="a YAML file, or the name of one in configs/sweeps (tiny)")
    parser.add_argument(
        "--launcher",
        choices=("local", "print", "slurm"),
        default="local",
        help="local: here (default); print: show the commands, for any scheduler; slurm: submit a job array",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="only cells whose names hold this; repeatable"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time; default: one per GPU, one on a CPU")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of the runs; default: $RRSIS_RUNS or runs")
    parser.add_argument("--retry-failed", action="store_true", help="run cells again that failed")
    parser.add_argument("--force", action="store_true", help="run finished and failed cells anew; old files are kept")
    parser.add_argument("--dry-run", action="store_true", help="show what would be run, in which order; run nothing")


def run(args: argparse.Namespace) -> int:
    """Run what is to be run; exit code 1 if a cell failed."""
    from rrsis_bench.sweep.agenda import look
    from rrsis_bench.sweep.grid import read_sweep

    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers must be at least 1, not {args.workers}.")
    sweep = read_sweep(args.sweep, args.runs)
    agenda = look(sweep, args.only, args.force, args.retry_failed)
    if args.launcher == "print" and not args.dry_run:
        return _print(agenda)
    print(agenda.summary(), flush=True)
    for cell in agenda.cells:
        verdict = agenda.verdicts[cell.name]
        if verdict.state in {"failed", "outdated"} and (cell in agenda.todo or verdict.state == "failed"):
            print(f"{verdict.state}: {cell.name}: {verdict.detail}")
    if args.dry_run:
        return _dry_run(agenda)
    if not agenda.todo:
        return _nothing(agenda)
    if args.launcher == "slurm":
        return _submit(sweep, agenda, args.force)
    return _run_here(sweep, agenda, args)


def _print(agenda: Agenda) -> int:
    import sys

    from rrsis_bench.sweep.launchers.printed import lines

    outdated = [cell.name for cell in agenda.todo if agenda.verdicts[cell.name].state in {"outdated", "done"}]
    if outdated:
        print(
            f"rrsis-bench: note: {', '.join(outdated)}: the run folder holds a run with other settings or data, or is "
            "run anew by --force; add --overwrite in place of --resume auto, or use another launcher, which keeps it.",
            file=sys.stderr,
        )
    for line in lines(agenda.todo):
        print(line)
    return 0


def _dry_run(agenda: Agenda) -> int:
    from rrsis_bench.sweep.launchers.printed import lines
    from rrsis_bench.sweep.times import duration

    for cell, line in zip(agenda.todo, lines(agenda.todo), strict=True):
        seconds = agenda.estimates.seconds(cell)
        about = "of unknown length" if seconds is None else f"about {duration(seconds)}"
        print(f"would run {cell.name} ({agenda.verdicts[cell.name].state}, {about})\n    {line}")
    if not agenda.todo:
        return _nothing(agenda)
    return 0


def _nothing(agenda: Agenda) -> int:
    failed = sum(verdict.state == "failed" for verdict in agenda.verdicts.values())
    print("nothing to do" + (": failed cells are run again with --retry-failed." if failed else "."))
    return 1 if failed else 0


def _submit(sweep: Sweep, agenda: Agenda, force: bool) -> int:
    from rrsis_bench.sweep.launchers.slurm import submit

    anew = frozenset(cell.name for cell in agenda.todo if force or agenda.verdicts[cell.name].state == "outdated")
    for name, job in submit(sweep, agenda.todo, anew).items():
        print(f"queued {name} as job {job}")
    print(f"see how they do: rrsis-bench status {sweep.path}")
    return 0


def _run_here(sweep: Sweep, agenda: Agenda, args: argparse.Namespace) -> int:
    from rrsis_bench.sweep.agenda import look
    from rrsis_bench.sweep.launchers.local import LocalLauncher
    from rrsis_bench.sweep.monitor import Monitor
    from rrsis_bench.sweep.run_cell import HELD, INTERRUPTED

    on_cpu = all(cell.config["trainer"].get("accelerator") == "cpu" for cell in agenda.todo)
    monitor = Monitor(len(agenda.todo), agenda.estimates)
    try:
        codes = LocalLauncher(args.workers, monitor, args.force, on_cpu).run(agenda.todo)
    finally:
        monitor.close()
    after = look(sweep, args.only, compute=False)
    print(after.summary())
    failed = [name for name, code in codes.items() if code not in {0, HELD, INTERRUPTED}]
    if failed:
        print(f"run failed cells again: rrsis-bench sweep {args.sweep} --retry-failed")
    elsewhere = [name for name, code in codes.items() if code == HELD]
    if elsewhere:
        print(f"run by another process: {', '.join(elsewhere)}")
    return 1 if failed else 0
