"""Errors that a user can mend: the command line prints one line for each, without a traceback.

The command line prints the message of a `UserError` and exits with its `exit_code`; `--debug` shows the traceback.
A message says what is wrong, where it is wrong, and what the user can do.
"""

from __future__ import annotations

MANY = 30
"""Number of known names above which a message lists only the `NEAREST` ones."""
NEAREST = 6


class UserError(Exception):
    """A mistake or a circumstance that the user can mend. Exit code 1."""

    exit_code = 1


class UsageError(UserError):
    """A wrong value on the command line, in a configuration or in a call of the Python API. Exit code 2."""

    exit_code = 2


class MissingResourceError(UserError):
    """Data or weights are missing, or fail their verification. Exit code 3."""

    exit_code = 3


class DriftError(UserError):
    """A generated file is not up to date: its inputs give another content. Exit code 4."""

    exit_code = 4


class WithheldError(UserError, AttributeError):
    """A method read a field of a blind batch that holds or describes the truth. Exit code 1."""


def did_you_mean(name: str, known: list[str]) -> str:
    """A hint to append to a message about an unknown name: the nearest known name, then all known names.

    Of more than `MANY` known names, the hint lists the nearest ones and says how many there are.
    """
    from difflib import get_close_matches

    near = nearest(name, known)
    hint = f" Did you mean '{near}'?" if near else ""
    if len(known) > MANY:
        return f"{hint} Nearest: {', '.join(get_close_matches(name, known, NEAREST, 0.0))} (of {len(known)})."
    return f"{hint} Known: {', '.join(sorted(known)) or 'none'}."


def nearest(name: str, known: list[str]) -> str | None:
    """The known name with the most similar spelling, upper and lower case alike; None if none is similar."""
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None
