"""`rrsis-bench test`: score a checkpoint, or a paper's own weights, on the test split and write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rrsis_bench.cli import validate as validation
from rrsis_bench.cli._trainer import check_data, is_first_process, make_plan
from rrsis_bench.errors import UsageError

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `test`."""
    validation.add_arguments(parser)
    parser.add_argument("--weights", metavar="official|FILE", help="the paper's own checkpoint instead of one of ours")
    parser.add_argument("--overwrite", action="store_true", help="replace a result the folder already holds")


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Score on test, write the result, print the table."""
    if args.help_all:
        from rrsis_bench.engine.trainer import print_help

        return print_help()
    if args.weights is not None and (args.run is not None or args.ckpt is not None):
        raise UsageError("--weights is scored instead of a run or a checkpoint; leave out --run and --ckpt.")
    if args.weights is None:
        plan, checkpoint = validation.plan_for_checkpoint(args, flags)
    else:
        plan, checkpoint = make_plan(args, flags), None
        if args.out is None:
            raise UsageError("--weights: say where the result goes with --out DIR.")
    check_data(plan)
    if is_first_process() and (plan.folder / "result.json").is_file() and not args.overwrite:
        raise UsageError(f"{plan.folder} already holds a result.json; pass --overwrite, or another --out.")
    from rrsis_bench.engine.run import test

    return test(plan, checkpoint, args.weights)
