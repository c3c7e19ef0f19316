"""Times as text. No torch."""

from __future__ import annotations


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
