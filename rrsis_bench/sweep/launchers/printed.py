"""The `print` launcher: one shell line per cell, for any scheduler. No torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.launchers.base import Launcher


class PrintLauncher(Launcher):
    """Prints the command lines of the cells; the user runs them."""

    only_lines = True

    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        """Print the lines, and on stderr the names of cells whose lines do not start them anew."""
        held = [cell.name for cell in cells if cell.name in self.orders.anew and cell.verb == "fit"]
        if held:
            print(
                f"rrsis-bench: note: {', '.join(held)}: to run these cells anew, replace --resume auto in their lines "
                "by --overwrite, or use another launcher. Both move the old run aside.",
                file=sys.stderr,
            )
        for line in self.lines(cells):
            print(line)
        return {}
