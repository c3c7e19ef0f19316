"""Errors that are a user's to mend: one clear line each, no traceback.

The command line prints the message of a `UserError` and exits with its `exit_code`; `--debug` shows the traceback.
A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake or circumstance the user can mend. Exit code 1."""

    exit_code = 1


class UsageError(UserError):
    """A wrong word on the command line or in a configuration. Exit code 2."""

    exit_code = 2


class MissingResourceError(UserError):
    """Data or weights that are missing or fail their verification. Exit code 3."""

    exit_code = 3


class DriftError(UserError):
    """Committed output that is not what the committed inputs give. Exit code 4."""

    exit_code = 4


class WithheldError(UserError, AttributeError):
    """A method read the truth where it is withheld. Exit code 1."""


def did_you_mean(name: str, known: list[str]) -> str:
    """A hint to append to an "unknown name" message: the nearest known name, then all of them."""
    near = nearest(name, known)
    hint = f" Did you mean '{near}'?" if near else ""
    return f"{hint} Known: {', '.join(sorted(known)) or 'none'}."


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that is spelt most like a given one, in upper or lower case; None where none is near."""
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None
