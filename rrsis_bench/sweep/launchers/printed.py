"""The `print` launcher: one shell line per cell, for any scheduler. No torch."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from rrsis_bench.sweep.grid import Cell


def lines(cells: Sequence[Cell]) -> list[str]:
    """One line per cell that can be run as it stands, from this folder, on any machine that sees the same files.

    Only what this environment itself was told (`RRSIS_*`) goes before the command.
    """
    told = [f"{name}={shlex.quote(value)}" for name, value in sorted(os.environ.items()) if name.startswith("RRSIS_")]
    return [" ".join([*told, shlex.join(["rrsis-bench", *cell.words])]) for cell in cells]
