"""Times as text. No torch."""

from __future__ import annotations

import re
from pathlib import Path


def duration(seconds: float) -> str:
    """A duration as text: `48 s`, `12 min`, `3 h 5 min`.

    Args:
        seconds: the duration in seconds.
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def stated_forecast(path: Path) -> list[str]:
    """The lines of the forecast that a sweep's file states in its comment; none for a file without one.

    A forecast takes minutes for each method, so that `--dry-run` computes none: `tools/forecasts.py` writes those of
    the ready sweeps, and a test holds them.

    Args:
        path: the file of the sweep.
    """
    text = path.read_text(encoding="utf-8")
    found = re.search(r"^# (Forecast, not measured:.*?\n)# Made by ", text, flags=re.DOTALL | re.MULTILINE)
    return [] if found is None else [line.removeprefix("# ").rstrip() for line in found[1].splitlines()]
