"""The `print` launcher: one shell line per cell, for any scheduler. No torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rrsis_bench.sweep.grid import Cell
from rrsis_bench.sweep.launchers.base import Launcher


class PrintLauncher(Launcher):
    """Prints the command lines; whoever runs them does the rest."""

    only_lines = True

    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        """Print the lines, and on stderr the names of cells that their lines alone would not start anew."""
        held = [cell.name for cell in cells if cell.name in self.orders.anew]
        if held:
            print(
                f"rrsis-bench: note: {', '.join(held)}: the run folder holds a run with other settings or data, or is "
                "run anew by --force; add --overwrite in place of --resume auto, or use another launcher, which keeps "
                "the old run.",
                file=sys.stderr,
            )
        for line in self.lines(cells):
            print(line)
        return {}
