"""Estimates how long a cell takes, from finished runs. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rrsis_bench.errors import UserError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.sweep.cell import Cell

_SIDE = 384
"""Image side in pixels that is assumed if a configuration leaves it to the method."""


class Estimates:
    """Estimates a cell's time from finished runs of its method, variant and data set with any seed.

    A run's training time is scaled to the cell's epochs or steps. For a named cell without runs, the runs of the plain
    variant are taken.

    Args:
        roots: folders of runs in order of preference (this sweep's runs, then committed results).
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = roots
        self._known: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def seconds(self, cell: Cell) -> float | None:
        """The estimate in seconds; None if there is no finished run to estimate from."""
        for variant in dict.fromkeys((cell.variant, cell.variant.partition("+")[0])):
            rates = [
                seconds
                for training in self._former(cell.dataset, f"{cell.method}@{variant}")
                if (seconds := _scaled(training, cell.config["trainer"])) is not None
            ]
            if rates:
                return sorted(rates)[len(rates) // 2]
        return None

    def longest_first(self, cells: Sequence[Cell]) -> list[Cell]:
        """Sort cells into the order in which to start them.

        Cells of unknown length come first, those with the most epochs x pixels before others. A long cell that starts
        last would delay the end of the sweep. Cells of equal length keep the order of the file.
        """

        def key(cell: Cell) -> tuple[int, float]:
            seconds = self.seconds(cell)
            return (0, -_work(cell)) if seconds is None else (1, -seconds)

        return sorted(cells, key=key)

    def _former(self, dataset: str, label: str) -> list[dict[str, Any]]:
        if (dataset, label) not in self._known:
            found: list[dict[str, Any]] = []
            for root in self.roots:
                for path in sorted((root / dataset / label).glob("seed*")):
                    try:
                        training = RunFolder(path).result().get("training")
                    except UserError:
                        continue
                    if training:
                        found.append(training)
                if found:
                    break
            self._known[dataset, label] = found
        return self._known[dataset, label]


def _scaled(training: dict[str, Any], trainer: dict[str, Any]) -> float | None:
    seconds = float(training.get("seconds") or 0)
    asked = []
    for done, wanted in (("epochs", "max_epochs"), ("steps", "max_steps")):
        limit, made = trainer.get(wanted), training.get(done)
        if isinstance(limit, int) and limit > 0 and made:
            asked.append(seconds * limit / float(made))
    return min(asked) if asked and seconds else None


def _work(cell: Cell) -> float:
    size = (cell.config["model"].get("options") or {}).get("image_size", _SIDE)
    side = size[0] if isinstance(size, list) else size
    epochs = cell.config["trainer"].get("max_epochs") or 0
    return float(epochs) * float(side) ** 2 if isinstance(epochs, int | float) else 0.0
