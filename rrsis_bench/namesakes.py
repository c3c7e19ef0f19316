"""Finds other packages named `baselines`, the name of our package of methods, without importing them.

Another package on PyPI installs under that name, and a user's own folder may have it. Our package states in its
`__init__.py` which version of the suite it belongs to.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from rrsis_bench._version import __version__
from rrsis_bench.errors import UserError
from rrsis_bench.paths import PACKAGE

NAME = "baselines"
PROJECT = "rrsis-bench"
_MARKER = re.compile(r'^RRSIS_BENCH = "([^"]*)"', re.MULTILINE)
_REINSTALL = f"pip install --force-reinstall --no-deps {PROJECT}"


@dataclass(frozen=True)
class Clash:
    """Another package named `baselines`.

    Attributes:
        problem: sentence that names the package.
        remedy: sentence that says what the user can do.
    """

    problem: str
    remedy: str


def instead() -> Clash | None:
    """The package that `import baselines` gives in place of ours; None if it gives ours or fails."""
    try:
        spec = find_spec(NAME)
    except ValueError:  # the running program has put a module without origin into sys.modules
        return Clash(f"A module made by the running program is named '{NAME}' as our methods are.", "Rename it.")
    if spec is None or _version(spec) == __version__:
        return None
    place = _place(spec)
    if _version(spec) is not None:
        problem = f"{place} holds the methods of {PROJECT} {_version(spec)}, but this is {__version__}."
        return Clash(problem, f"Remove that copy, or install both anew: {_REINSTALL}.")
    owner = _owner(place)
    problem = f"{place} ({owner or 'of no installed package'}) is found in place of our methods, also in '{NAME}'."
    if place.parent == PACKAGE.parent:
        first = f"pip uninstall {owner.partition(' ')[0]}, then " if owner else ""
        return Clash(problem, f"Give {PROJECT} an environment of its own, or run: {first}{_REINSTALL}.")
    if place.parent == Path.cwd():
        return Clash(problem, "Rename it, or run rrsis-bench (or python -P -m rrsis_bench) from there.")
    return Clash(problem, f"Take {place.parent} off PYTHONPATH, or give {PROJECT} an environment of its own.")


def hidden() -> list[Clash]:
    """Other packages of that name that our package hides, in the order of `sys.path`."""
    specs = (PathFinder.find_spec(NAME, [entry]) for entry in dict.fromkeys(sys.path))
    places = [_place(spec) for spec in specs if spec is not None and spec.origin is not None and not _version(spec)]
    # An older checkout of this project has no marker, but the suite beside it.
    strangers = [place for place in places if not (place.parent / PACKAGE.name / "__init__.py").is_file()]
    return [_hidden(f"{place} ({_owner(place) or 'of no installed package'})") for place in strangers]


def everywhere() -> list[Clash]:
    """All other packages of that name, for a report.

    It reads the file lists of all installed distributions, and finds packages whose files ours have replaced.
    """
    first = instead()
    found = hidden() if first is None else [first]
    said = " ".join(clash.problem for clash in found)
    return found + [_hidden(_title(one)) for one in _others() if _title(one) not in said]


def refuse() -> None:
    """Raise an error if another package takes the place of ours; print a note, once, if ours hides another one.

    Raises:
        UserError: `import baselines` gives another package; the message says what the user can do.
    """
    clash = instead()
    if clash is not None:
        raise UserError(f"{clash.problem} {clash.remedy}")
    _say_once()


@cache
def _say_once() -> None:
    for clash in hidden():
        print(f"{PROJECT}: note: {clash.problem} {clash.remedy}", file=sys.stderr)


def _hidden(what: str) -> Clash:
    problem = f"{what} is named '{NAME}' as our methods are, which hide it: import {NAME} gives ours."
    return Clash(problem, f"If a program needs the other, give {PROJECT} an environment of its own.")


def _version(spec: ModuleSpec) -> str | None:
    """The version of the suite that a package's marker states; None if the package is not ours."""
    if spec.origin is None:
        return None
    try:
        found = _MARKER.search(Path(spec.origin).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _place(spec: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0] if folders else spec.origin or NAME).absolute()


def _others() -> list[Distribution]:
    return [
        one
        for one in distributions()
        if _name(one) != PROJECT and any(file.parts[0] in {NAME, f"{NAME}.py"} for file in one.files or ())
    ]


@cache
def _owner(place: Path) -> str:
    """Name and version of the distribution that installed a package; "" if no distribution did."""
    return next((_title(one) for one in _others() if Path(str(one.locate_file(place.name))) == place), "")


def _title(one: Distribution) -> str:
    return f"{one.metadata['Name']} {one.version}"


def _name(one: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
