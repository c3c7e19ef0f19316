"""`rrsis-bench validate`: score a checkpoint on the validation split."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rrsis_bench.cli._trainer import Plan, add_choice_arguments, check_data, make_plan, saved_config
from rrsis_bench.errors import UsageError

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `validate`."""
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run folder of fit; its best checkpoint is scored")
    parser.add_argument("--ckpt", type=Path, metavar="PATH", help="a checkpoint; default: the run's best.ckpt")
    add_choice_arguments(parser)


def plan_for_checkpoint(args: argparse.Namespace, flags: Sequence[str]) -> tuple[Plan, Path]:
    """What to score, from `--run DIR` or from names and `--ckpt PATH`.

    Raises:
        UsageError: neither is given, or names contradict the run.
    """
    if args.run is not None:
        named = [name for name in ("method", "dataset", "variant", "protocol", "trainer") if getattr(args, name)]
        if named:
            raise UsageError(f"--{named[0]} is already said by --run {args.run}; leave one of them out.")
        base = saved_config(args.run)
        checkpoint = args.ckpt or args.run / "checkpoints" / "best.ckpt"
        if args.out is None:
            args.out = args.run
    else:
        if args.ckpt is None:
            raise UsageError("name what to score: --run DIR, or --method M --dataset D --ckpt PATH.")
        base, checkpoint = None, args.ckpt
    if not checkpoint.is_file():
        raise UsageError(f"there is no checkpoint {checkpoint}.")
    return make_plan(args, flags, base), checkpoint


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Score on val and print the table."""
    if args.help_all:
        from rrsis_bench.engine.trainer import print_help

        return print_help()
    plan, checkpoint = plan_for_checkpoint(args, flags)
    check_data(plan)
    from rrsis_bench.engine.run import validate

    return validate(plan, checkpoint)
