"""`rrsis-bench fit`: train a method, test its best checkpoint, write the result."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rrsis_bench.cli._choices import add_choice_arguments, add_detail_argument, request_of, shows_all_values
from rrsis_bench.verbs import fit_run

PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `fit`."""
    add_choice_arguments(parser)
    parser.add_argument(
        "--resume",
        metavar="auto|PATH",
        help="continue from a checkpoint; auto: from the folder's last.ckpt, or start anew if it has none",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="move a run that the folder holds aside, and start anew"
    )
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="resume even if data or settings have changed; no board shows the result",
    )
    add_detail_argument(parser)


def run(args: argparse.Namespace, flags: Sequence[str]) -> int:
    """Train, test, print the scores."""
    if not shows_all_values(args, flags):
        fit_run(request_of(args, flags), args.resume, args.overwrite, args.accept_changes)
    return 0
