"""`rrsis-bench test`: score a checkpoint, or a paper's own weights, on the test split and write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rrsis_bench import api
from rrsis_bench.cli import validate as validation
from rrsis_bench.cli._choices import add_detail_argument, request_of, shows_all_values

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `test`."""
    validation.add_arguments(parser)
    parser.add_argument(
        "--weights",
        metavar="official|FILE",
        help="the paper's own checkpoint, in place of --run and --ckpt; a file, or hub:OWNER/REPO/FILE",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a result that the folder holds")
    add_detail_argument(parser)


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Score on test, write the result, print the table."""
    if not shows_all_values(args, flags):
        api.test_run(request_of(args, flags), args.ckpt, args.weights, args.overwrite)
    return 0
