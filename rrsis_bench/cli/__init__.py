"""The command line: this file chooses the verb and imports no torch. Each verb has a file, whose `run` imports it.

A verb's module defines `add_arguments(parser)` and `run(args) -> int`, which returns the exit code. A trainer verb sets
`PASSES_ON = True` and defines `run(args, flags)`: `flags` are the words that its parser does not know. They set values
of the configuration.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from rrsis_bench._version import __version__
from rrsis_bench.cli._words import Parser
from rrsis_bench.errors import UsageError, UserError, did_you_mean

VERBS: Mapping[str, tuple[str, str]] = {
    "fit": ("rrsis_bench.cli.fit", "train a method, test its best checkpoint, write the result"),
    "validate": ("rrsis_bench.cli.validate", "score a checkpoint on the validation split"),
    "test": ("rrsis_bench.cli.test", "score a checkpoint on the test split and write the result"),
    "predict": ("rrsis_bench.cli.predict", "segment what an expression refers to in an image"),
    "sweep": ("rrsis_bench.cli.sweep", "train methods x data sets x seeds, skipping what is finished"),
    "status": ("rrsis_bench.cli.status", "show which cells of a sweep are done, running, failed or missing"),
    "leaderboard": ("rrsis_bench.cli.leaderboard", "make the boards (tables, plots, web page) from result files"),
    "results": ("rrsis_bench.cli.results", "check, rescore, compare and export results; score any predictions"),
    "methods": ("rrsis_bench.cli.methods", "list, show and check methods"),
    "data": ("rrsis_bench.cli.data", "list, prepare, verify, count and show data sets"),
    "profile": ("rrsis_bench.cli.profile", "measure parameters, GFLOPs, latency and memory of a method"),
    "forecast": ("rrsis_bench.cli.forecast", "tell memory and hours of a run, without GPU, data or weights"),
    "weights": ("rrsis_bench.cli.weights", "list and fetch the pretrained files that methods start from"),
    "env": ("rrsis_bench.cli.env", "show versions, devices and known-bad combinations"),
}


def usage() -> str:
    """The text of `rrsis-bench --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in VERBS.items())
    return (
        "usage: rrsis-bench VERB [options]\n\n"
        "Train, score and compare referring remote sensing image segmentation methods under one protocol.\n\n"
        f"verbs:\n{verbs}\n\n"
        "  rrsis-bench VERB --help   options of a verb\n"
        "  rrsis-bench --version     version\n"
        "  --debug                   with any verb: show the traceback of an error\n\n"
        "start with: rrsis-bench fit --method s4eca   (trains on an embedded tiny split, no download)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: words after the program name; None for those of the process.

    Returns:
        the exit code: 0 success, 1 failure, 2 usage, 3 data or weights missing, 4 outdated files, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or bool(os.environ.get("RRSIS_DEBUG"))
    words = [word for word in words if word != "--debug"]
    try:
        return _dispatch(words)
    except UserError as error:
        if debug:
            raise
        print(f"rrsis-bench: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output, such as `head`, has ended: not a failure.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return 0
    except OSError as error:
        # The system refuses a file where no code foresaw it. An error without a file is a fault of ours: show it whole.
        if debug or error.filename is None:
            raise
        reason = error.strerror or type(error).__name__
        print(f"rrsis-bench: error: cannot use {error.filename}: {reason} (--debug shows where).", file=sys.stderr)
        return UserError.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        print("rrsis-bench: interrupted", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if words[0] in {"-V", "--version"}:
        print(f"rrsis-bench {__version__}")
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise UsageError(f"unknown verb '{verb}'.{did_you_mean(verb, list(VERBS))}")
    module_name, summary = VERBS[verb]
    module = import_module(module_name)
    parser = Parser(prog=f"rrsis-bench {verb}", description=summary[0].upper() + summary[1:] + ".")
    module.add_arguments(parser)
    try:
        if getattr(module, "PASSES_ON", False):
            args, passed = parser.parse_known_args(rest)
            return int(module.run(args, passed))
        return int(module.run(parser.parse_args(rest)))
    except SystemExit as stop:  # argparse has printed its own message
        return stop.code if isinstance(stop.code, int) else 2
