"""The interface of all launchers. No torch."""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.grid import Sweep


@dataclass(frozen=True)
class Orders:
    """The settings of a launcher.

    Attributes:
        sweep: the sweep of the cells.
        estimates: estimates of how long cells take.
        anew: names of cells that start anew; their old files are moved aside.
        force: the user asked to run all cells anew (`--force`).
        workers: number of cells that run at a time; None for the launcher's default.
    """

    sweep: Sweep
    estimates: Estimates
    anew: frozenset[str] = frozenset()
    force: bool = False
    workers: int | None = None


class Launcher(ABC):
    """Starts cells; the command line of each is a `rrsis-bench fit`, or a `test` where nothing is trained.

    Attributes:
        only_lines: True if `start` prints command lines, so that the sweep must print nothing else to standard output.
    """

    only_lines: bool = False

    def __init__(self, orders: Orders) -> None:
        self.orders = orders

    def lines(self, cells: Sequence[Cell]) -> list[str]:
        """The shell line of each cell, which can be run by hand."""
        return [command_line(cell) for cell in cells]

    @abstractmethod
    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        """Start cells in order.

        Returns:
            cell name -> exit code, for the cells that have ended by now.
        """

    @classmethod
    def poll(cls) -> set[str] | None:
        """Ids of all jobs in the scheduler's queue; None if there is no scheduler, or it does not answer."""
        return None


def command_line(cell: Cell) -> str:
    """A shell line that runs a cell in this working folder, on any machine with the same files.

    The line begins with the present `RRSIS_*` environment variables.
    """
    variables = [
        f"{name}={shlex.quote(value)}" for name, value in sorted(os.environ.items()) if name.startswith("RRSIS_")
    ]
    commands = [cell.words, *([cell.perturb_words(cell.perturb)] if cell.perturb else [])]
    return " && ".join(" ".join([*variables, shlex.join(["rrsis-bench", *words])]) for words in commands)
