"""`rrsis-bench validate`: score a checkpoint on the validation split."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rrsis_bench.cli._choices import add_choice_arguments, request_of, shows_all_values
from rrsis_bench.cli._words import as_path
from rrsis_bench.verbs import validate_run

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `validate`."""
    parser.add_argument("--run", type=as_path, metavar="DIR", help="run folder of fit, whose best checkpoint to score")
    parser.add_argument("--ckpt", type=as_path, metavar="PATH", help="a checkpoint; default: the run's best.ckpt")
    add_choice_arguments(parser)


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Score on val and print the table."""
    if not shows_all_values(args, flags):
        validate_run(request_of(args, flags), args.ckpt)
    return 0
