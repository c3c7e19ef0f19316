"""How the cells of a sweep are started: a launcher is a class of its own file and a line of this table. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rrsis_bench.sweep.launchers.base import Launcher

LAUNCHERS: Mapping[str, tuple[str, str]] = {
    "local": ("local:LocalLauncher", "here (default)"),
    "print": ("printed:PrintLauncher", "show the commands, for any scheduler"),
    "slurm": ("slurm:SlurmLauncher", "submit a job array"),
}
"""Name -> class in this folder, and what it does, for the help text."""


def load(name: str) -> type[Launcher]:
    """A launcher's class by name."""
    module, _, attribute = LAUNCHERS[name][0].partition(":")
    found: type[Launcher] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
