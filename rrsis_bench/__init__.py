"""rrsis_bench: train, score and compare referring remote sensing image segmentation methods under one protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rrsis_bench._version import __version__

__all__ = ["__version__", "fit", "leaderboard", "predict", "score", "test"]

if TYPE_CHECKING:
    from rrsis_bench.api import fit, leaderboard, predict, score, test


def __getattr__(name: str) -> Any:
    # The verbs load on first use, so that importing the package imports neither torch nor anything else.
    if name in __all__:
        return getattr(import_module("rrsis_bench.api"), name)
    raise AttributeError(f"module 'rrsis_bench' has no attribute '{name}'")
