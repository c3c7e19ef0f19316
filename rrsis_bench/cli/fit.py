"""`rrsis-bench fit`: train a method, test its best checkpoint, write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rrsis_bench.cli._trainer import Plan, add_choice_arguments, check_data, is_first_process, make_plan
from rrsis_bench.errors import UsageError

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `fit`."""
    add_choice_arguments(parser)
    parser.add_argument(
        "--resume", metavar="auto|PATH", help="continue from the run folder's last.ckpt, or from a file"
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew where the run folder holds a run")


def resume_from(plan: Plan, resume: str | None, overwrite: bool) -> Path | None:
    """The checkpoint to continue from, or None to start anew.

    Raises:
        UsageError: the folder holds a run and neither --resume nor --overwrite says what to do with it.
    """
    last = plan.folder / "checkpoints" / "last.ckpt"
    if resume not in {None, "auto"}:
        path = Path(str(resume))
        if not path.is_file():
            raise UsageError(f"--resume: there is no checkpoint {path}.")
        return path
    if resume == "auto":
        return last if last.is_file() else None
    if is_first_process() and not overwrite:
        if (plan.folder / "result.json").is_file():
            raise UsageError(
                f"{plan.folder} holds a finished run; start anew with --overwrite, or choose another --seed or --out."
            )
        if last.is_file():
            raise UsageError(
                f"{plan.folder} holds an unfinished run; continue with --resume auto, or start anew with --overwrite."
            )
    return None


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Train, test, report."""
    if args.help_all:
        from rrsis_bench.engine.trainer import print_help

        return print_help()
    plan = make_plan(args, flags)
    check_data(plan)
    checkpoint = resume_from(plan, args.resume, args.overwrite)
    if args.resume == "auto" and (plan.folder / "result.json").is_file():
        # Every process that torchrun started must end here; those that wait for the others would wait for ever.
        if is_first_process():
            print(f"nothing to do: {plan.folder} holds a finished run.")
        return 0
    from rrsis_bench.run.lock import hold

    with hold(plan.folder) if is_first_process() else nullcontext():
        from rrsis_bench.engine.run import fit

        return fit(plan, checkpoint, keep=checkpoint is not None)
