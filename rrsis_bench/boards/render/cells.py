"""What a column is, and how its cells are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any
from urllib.parse import quote

from rrsis_bench.run.layout import ELSEWHERE, PERTURBED


@dataclass(frozen=True)
class Column:
    """A column for people.

    Attributes:
        name: tells it apart from the others of its table.
        title: its heading; short, for phones.
        text: what a cell shows; "" where nothing is known.
        value: what a cell is sorted by; None last.
        left: text is set flush left, a number flush right.
        best: `max` or `min` where the best cell is to be set bold; "" elsewhere.
        help: what the heading means.
        printed: whether a printed page has room for it.
        folders: the run folders that a cell names, for formats with links; None for other columns.
    """

    name: str
    title: str
    text: Callable[[Any], str]
    value: Callable[[Any], float | str | None]
    left: bool = False
    best: str = ""
    help: str = ""
    printed: bool = True
    folders: Callable[[Any], Sequence[str]] | None = None


@dataclass(frozen=True)
class Field:
    """A column for programs. Each getter takes the table (or the board) and the row; None stands for "not known".

    Attributes:
        name: its heading.
        measured: of a measured row and its table.
        published: of a published row and its board.
        cost: of a published cost and its board.
    """

    name: str
    measured: Callable[[Any, Any], Any] | None = None
    published: Callable[[Any, Any], Any] | None = None
    cost: Callable[[Any, Any], Any] | None = None


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, in its narrow and in its wide form."""


def sheet(value: Any) -> Any:
    """Make a cell of a CSV file: empty for None; text that a spreadsheet would run as a formula gets a leading `'`.

    Result files and packages of other people hold text. Numbers stay as they are, negative ones too.
    """
    if value is None:
        return ""
    if isinstance(value, str) and (value.startswith(FORMULA) or value.lstrip().startswith(FORMULA)):
        return f"'{value}"
    return value


def run_name(folder: str) -> str:
    """Name a run by its seed, and by where its result is filed if that is under a run: `seed0`, `seed0/on/tiny`."""
    parts = folder.split("/")
    return "/".join(parts[-3:] if len(parts) > 2 and parts[-2] in (PERTURBED, ELSEWHERE) else parts[-1:])


def runs_column(folders: Callable[[Any], Sequence[str]]) -> Column:
    """The column of a row's runs, which some formats make links of."""
    return Column(
        "runs",
        "runs",
        lambda row: " ".join(map(run_name, folders(row))),
        lambda row: None,
        left=True,
        printed=False,
        folders=folders,
    )


def address(path: str) -> str:
    """Quote a relative path for a link: no sign of it ends the link, and none makes it a scheme such as `data:`."""
    return quote(path, safe="/@+=,~")


def percent(value: float | None) -> str:
    """Write a fraction as percent with two decimals; empty for None and NaN."""
    return "" if value is None or isnan(value) else f"{100 * value:.2f}"


def number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """Write a scaled number; empty for None."""
    return "" if value is None else f"{value * scale:,.{digits}f}"


def spread(mean: float | None, sd: float | None) -> str:
    """Write a mean over seeds in percent, with its standard deviation if there is one; empty for None."""
    return percent(mean) + ("" if sd is None else f" ± {percent(sd)}")
