"""Prints tables and sentences: a terminal shows them within its width, a file or a pipe gets every line whole.

No number is cut, and no word is broken by letters. A table that is too wide loses its frame first; if that does not
help, each row becomes a paragraph.
"""

from __future__ import annotations

import re
import sys
from copy import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

_ENDLESS = 100_000
_JOINTS = "/=#,"
_WORD = re.compile(r"""(?:[^\s'"\\]|'[^']*'|"(?:\\.|[^"])*"|\\.)+""")
"""A word of a shell line, with its quotes."""


def width() -> int | None:
    """Number of columns of the terminal; None if the output goes to a file or a pipe."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else None


def say(text: str, indent: str = "", style: str | None = None) -> None:
    """Print a text. A terminal breaks its lines between words; the lines after the first begin with `indent`."""
    _console(None).print(_wrapped(text, indent, width()), style=style, soft_wrap=True)


def command(line: str, indent: str = "") -> None:
    """Print a shell line. On a terminal, it goes on after a backslash where it is too long, and can still be copied."""
    columns = width()
    if columns is None:
        print(f"{indent}{line}")
        return
    first, *others = _WORD.findall(line)
    lines = [f"{indent}{first}"]
    for word in others:
        if _length(f"{lines[-1]} {word} \\") <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}    {word}")
    print(" \\\n".join(lines))


def show(table: Table) -> None:
    """Print a table. Cells of right-aligned columns stay whole if they hold a digit; others may break at spaces."""
    columns = width()
    console = _console(columns)
    framed = _copy(table)
    if columns is None or _fit(framed, columns):
        console.print(framed)
    elif _fit(bare := _bare(table), columns):
        console.print(bare)
    else:
        for line in _paragraphs(table, columns):
            print(line)


def fits(table: Table) -> bool:
    """Whether `show` can print the table as a table."""
    columns = width()
    return columns is None or _fit(_copy(table), columns) or _fit(_bare(table), columns)


def _console(columns: int | None) -> Console:
    from rich.console import Console

    return Console(width=columns or _ENDLESS, highlight=False, markup=False, emoji=False)


def _wrapped(text: str, indent: str, columns: int | None) -> str:
    """Break lines between words. A word longer than a line, such as an address, breaks after a sign of `_JOINTS`."""
    if columns is None:
        return text
    found = []
    for line in text.split("\n"):
        found.append("")
        for word in re.findall(r"\s*\S+", line):
            parts = [word]
            if _length(word.strip()) > columns - len(indent):
                parts = re.findall(rf"[^{_JOINTS}]+[{_JOINTS}]*|[{_JOINTS}]+", word)
            for part in parts:
                if found[-1] and _length(found[-1] + part) > columns:
                    found.append(f"{indent}{part.lstrip()}")
                else:
                    found[-1] += part
    return "\n".join(found)


def _copy(table: Table) -> Table:
    """A table whose columns may have other widths."""
    other = copy(table)
    other.columns = [copy(column) for column in table.columns]
    return other


def _bare(table: Table) -> Table:
    """The table without frame, and without the space at its edges."""
    bare = _copy(table)
    bare.box, bare.pad_edge = None, False
    return bare


def _fit(table: Table, columns: int) -> bool:
    """Set the widths of a table's columns, which the table leaves open, so that the table fits the terminal.

    Args:
        table: the table.
        columns: most characters that all columns may take together.

    Returns:
        whether that is possible. If not, the table stays as it was.
    """
    from rich.measure import Measurement

    console = _console(None)
    wanted = [max(map(_length, _texts(column))) for column in table.columns]
    least = [
        max(_least(column, text, place == 0) for place, text in enumerate(_texts(column))) for column in table.columns
    ]
    frame = Measurement.get(console, console.options, table).maximum - sum(wanted)
    if sum(least) + frame > columns:
        return False
    while sum(wanted) + frame > columns:
        spare = [here - there for here, there in zip(wanted, least, strict=True)]
        widest = max((place for place, room in enumerate(spare) if room > 0), key=lambda place: wanted[place])
        wanted[widest] -= 1
    for column, chosen in zip(table.columns, wanted, strict=True):
        column.width, column.overflow, column.no_wrap = chosen, "fold", False
    return True


def _texts(column: Column) -> list[str]:
    """The heading of a column, and its cells."""
    return [_plain(column.header), *map(_plain, column.cells)]


def _plain(cell: Any) -> str:
    return str(getattr(cell, "plain", cell))


def _length(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")), default=0)


def _least(column: Column, text: str, heading: bool) -> int:
    """The least number of columns for a cell that breaks no word, and no number of a right-aligned column."""
    whole = column.no_wrap or (column.justify == "right" and any(sign.isdigit() for sign in text))
    return _length(text) if whole and not heading else max(map(_length, text.split()), default=0)


def _paragraphs(table: Table, columns: int) -> list[str]:
    """Each row as lines: its first cell, and below it the other ones with their headings."""
    heads = [_plain(column.header) for column in table.columns]
    wide = max(map(_length, heads[1:]), default=0)
    found = [str(table.title)] if table.title else []
    for cells in zip(*(map(_plain, column.cells) for column in table.columns), strict=True):
        found.append(_wrapped(cells[0], "  ", columns))
        for head, cell in zip(heads[1:], cells[1:], strict=True):
            if cell:
                start = f"  {head}{' ' * (wide - _length(head))}  "
                found.append(_wrapped(f"{start}{cell}", " " * len(start), columns))
    return found
