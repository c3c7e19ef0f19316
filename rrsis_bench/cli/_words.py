"""The words of a command line: a parser with errors of one line, and the types of flags' values. No torch."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rrsis_bench.errors import UsageError, did_you_mean, nearest
from rrsis_bench.kinds import Kind

_Number = TypeVar("_Number", int, float)


class Parser(argparse.ArgumentParser):
    """argparse with the errors of this project: one line, raised as `UsageError`."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings of argparse but `allow_abbrev`, which would read `--al` as `--all`."""
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message in plain words."""
        raise UsageError(f"{self._plain(message)} See: {self.prog} --help")

    def _plain(self, message: str) -> str:
        name, _, rest = message.removeprefix("argument ").partition(": ")
        if message.startswith("argument "):
            if found := re.fullmatch(r"invalid choice: (.*) \(choose from (.*)\)", rest):
                given, known = found[1].strip("'"), [one.strip(" '") for one in found[2].split(",")]
                near = nearest(given, known)
                hint = f" Did you mean '{near}'?" if near else ""
                return f"{name} must be {'' if len(known) == 1 else 'one of '}{', '.join(known)}, not '{given}'.{hint}"
            if rest.startswith("not allowed with argument "):
                return f"{name} and {rest.rpartition(' ')[2]} exclude each other; leave one of them out."
            if rest.startswith("expected"):
                return f"{name} needs {'a value' if 'one argument' in rest else 'values'}."
            return f"{name} {rest}." if rest.startswith("must") else f"{name}: {rest}."
        if message.startswith("unrecognized arguments: "):
            word = rest.split()[0].partition("=")[0]
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            return f"unknown flag {word}.{did_you_mean(word, flags)}" if word[0] == "-" else f"unknown word '{word}'."
        if message.startswith("the following arguments are required: "):
            return f"give {rest}."
        if found := re.fullmatch(r"one of the arguments (.*) is required", message):
            return f"give one of {', '.join(found[1].split())}."
        return f"{message}."


def as_int(kind: Kind) -> Callable[[str], int]:
    """The type of a flag that takes a whole number of a kind."""
    return _reader(int, kind)


def as_float(kind: Kind) -> Callable[[str], float]:
    """The type of a flag that takes a number of a kind."""
    return _reader(float, kind)


def _reader(convert: Callable[[str], _Number], kind: Kind) -> Callable[[str], _Number]:
    def read(text: str) -> _Number:
        try:
            value: _Number | None = convert(text)
        except ValueError:
            value = None
        if value is None or not kind.fits(value):
            raise argparse.ArgumentTypeError(f"must be {kind.words}, not '{text}'")
        return value

    return read


def as_path(text: str) -> Path:
    """The type of a flag that takes a file or folder. An empty name would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a file or folder; the name is empty")
    return Path(text)
