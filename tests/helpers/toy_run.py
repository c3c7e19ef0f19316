"""`rrsis-bench` with the toy method, as a script that tests kill, interrupt, and run as two processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import toy
from rrsis_bench import registry
from rrsis_bench.cli import main


def register() -> None:
    """Register the toy as a built-in method."""
    registry.BUILT_IN = {**registry.BUILT_IN, toy.NAME: toy.TARGET}  # type: ignore[misc]
    registry.installed_targets.cache_clear()


def run() -> int:
    """Run the words of the command line. Returns the exit code."""
    os.environ.setdefault("RRSIS_CONFIGS", str(Path(__file__).parent / "toy_configs"))
    register()
    return main()


if __name__ == "__main__":
    sys.exit(run())
