"""`rrsis-bench test`: score a checkpoint, or a paper's own weights, on the test split and write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rrsis_bench.cli import validate as validation
from rrsis_bench.cli._choices import add_detail_argument, request_of, shows_all_values
from rrsis_bench.cli._words import as_path
from rrsis_bench.verbs import test_run

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
    parser.add_argument(
        "--perturb",
        action="append",
        default=[],
        metavar="NAME[:1-5]",
        help="score the split perturbed (rrsis-bench data perturbations), filed under the run folder; repeatable",
    )
    parser.add_argument(
        "--exclude-overlap",
        type=as_path,
        metavar="FILE",
        help="leave out test images with a twin in the training data (rrsis-bench data overlap writes the list)",
    )


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Score on test, write the result, print the table."""
    if not shows_all_values(args, flags):
        given = (args.ckpt, args.weights, args.overwrite, args.perturb, args.exclude_overlap)
        test_run(request_of(args, flags), *given)
    return 0
