"""`rrsis-bench leaderboard`: make the boards from the result files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rrsis_bench.cli._words import as_path
from rrsis_bench.errors import DriftError

FORMATS = ("md", "csv", "json", "tex", "html", "svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument(
        "--board", help="only this board (smoke, rrsisd, refsegrs, risbench, ..., efficiency); default: all"
    )
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    parser.add_argument("--results", type=as_path, default=Path("results"), help="folder of results (default: results)")
    parser.add_argument("--out", type=as_path, help="folder to write to (default: <results>/leaderboard)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 4 if a file is not up to date")


def run(args: argparse.Namespace) -> int:
    """Write or check the boards. Results that fail their checks are named on stderr and left out."""
    from rrsis_bench.boards import leaderboard
    from rrsis_bench.boards.render.markdown import section

    results: Path = args.results
    files, boards, warnings = leaderboard.outputs(results, args.board, args.format, args.out)
    for warning in warnings:
        print(f"rrsis-bench: warning: left out: {warning}", file=sys.stderr)
    empty = not any(board.measured for board in boards)
    if args.check:
        stale = leaderboard.drifted(files)
        if stale:
            listed = ", ".join(map(str, stale))
            raise DriftError(f"not up to date: {listed}. Run 'rrsis-bench leaderboard' and commit what it writes.")
        print("leaderboard: up to date")
        return 0
    written = leaderboard.write(files)
    if args.board is not None and (boards[0].measured or boards[0].published or boards[0].costs):
        print(section(boards[0], f"{results}/") + "\n")
    if empty:
        print(f"no results under {results}: the boards say that none is measured here.")
    for path in written:
        print(f"wrote {path}")
    if not written:
        print("leaderboard: up to date")
    return 0
