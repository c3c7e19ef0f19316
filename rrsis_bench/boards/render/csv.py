"""Boards as CSV: one line per row, fractions at full precision, empty where not known."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.render.beside import csv_text, flat_rows
from rrsis_bench.boards.render.cells import Field, sheet
from rrsis_bench.boards.render.columns import fields


def page(board: Board) -> str:
    """Write all tables of a board in one file; `dataset`, `split` and `kind` tell them apart."""
    if board.beside and board.layout != "costs":
        return csv_text(board.beside)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    known = fields()
    names = [field.name for field in known]
    on_gpus = flat_rows(board.beside)
    further = [name for name in dict.fromkeys(name for row in on_gpus for name in row) if name not in names]
    writer.writerow([*names, *further])
    for getters, where, row in _rows(board, known):
        writer.writerow([*(None if get is None else sheet(get(where, row)) for get in getters), *("" for _ in further)])
    for values in on_gpus:
        writer.writerow([sheet(values.get(name)) for name in (*names, *further)])
    return stream.getvalue()


Getters = list[Callable[[Any, Any], Any] | None]


def _rows(board: Board, known: list[Field]) -> Iterator[tuple[Getters, Any, Any]]:
    """Yield every row with the getters of its fields, and the table or board it stands in."""
    measured: Getters = [field.measured for field in known]
    published: Getters = [field.published for field in known]
    cost: Getters = [field.cost for field in known]
    yield from ((measured, table, row) for table in board.tables for row in table.rows)
    yield from ((published, board, row) for row in board.published)
    yield from ((cost, board, row) for row in board.costs)
