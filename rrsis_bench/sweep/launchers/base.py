"""What a launcher of a sweep's cells is. No torch."""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.grid import Cell, Sweep


@dataclass(frozen=True)
class Orders:
    """What a launcher needs to know besides the cells.

    Attributes:
        sweep: where the cells come from.
        estimates: of their lengths.
        anew: names of cells that start from nothing: their old files are moved aside.
        force: the user asked for that; else the cells are outdated.
        workers: cells at a time; None for the launcher's own choice.
    """

    sweep: Sweep
    estimates: Estimates
    anew: frozenset[str] = frozenset()
    force: bool = False
    workers: int | None = None


class Launcher(ABC):
    """Starts cells, each as the `rrsis-bench fit` of its own command line.

    Attributes:
        only_lines: `start` prints the cells' lines and nothing else may be printed beside them.
    """

    only_lines: bool = False

    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    def lines(self, cells: Sequence[Cell]) -> list[str]:
        """What would be started, one text for each cell: the command, to be run by hand as it stands."""
        return [command_line(cell) for cell in cells]

    @abstractmethod
    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        """Start cells in order.

        Returns:
            cell name -> exit code, for those that have ended when this returns.
        """

    @classmethod
    def poll(cls) -> set[str] | None:
        """Ids of all jobs that the launcher's scheduler knows of; None where there is none, or it cannot be asked."""
        return None


def command_line(cell: Cell) -> str:
    """A shell line that runs a cell from this folder, on any machine that sees the same files.

    It begins with the environment's own `RRSIS_*` variables.
    """
    variables = [
        f"{name}={shlex.quote(value)}" for name, value in sorted(os.environ.items()) if name.startswith("RRSIS_")
    ]
    return " ".join([*variables, shlex.join(["rrsis-bench", *cell.words])])
