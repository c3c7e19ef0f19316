"""The launchers of a sweep's cells. A launcher is a class in a file of its own, and a line of this table. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rrsis_bench.sweep.launchers.base import Launcher

LAUNCHERS: Mapping[str, tuple[str, str]] = {
    "local": ("local:LocalLauncher", "run the cells on this machine (default)"),
    "print": ("printed:PrintLauncher", "print one shell line per cell, for any scheduler"),
    "slurm": ("slurm:SlurmLauncher", "submit job arrays to SLURM"),
}
"""Name -> class in this folder, and a phrase for the help text."""


def load(name: str) -> type[Launcher]:
    """The class of a launcher by name."""
    module, _, attribute = LAUNCHERS[name][0].partition(":")
    found: type[Launcher] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
