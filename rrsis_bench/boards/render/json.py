"""Boards as JSON: everything the tables know, fractions at full precision, null where not known."""

from __future__ import annotations

import json
from typing import Any

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.render.views import status
from rrsis_bench.boards.rows import Table
from rrsis_bench.metrics.protocols import DEFAULT


def page(board: Board) -> str:
    """Write the board as one JSON object, a row to a line; the gallery's pictures are in the HTML page only."""
    parts = {
        "name": _line(board.name),
        "title": _line(board.title),
        "notice": _line(board.notice),
        "protocol": _line(DEFAULT),
        "status": _line(status(board)),
        "tables": _lines([_table(table) for table in board.tables]),
        "published": _lines([_line(_plain(row)) for row in board.published]),
        "published_costs": _lines([_line(_plain(row)) for row in board.costs]),
        **({"beside": _lines([_line(_plain(table)) for table in board.beside])} if board.beside else {}),
    }
    return "{\n" + ",\n".join(f"{_line(name)}: {text}" for name, text in parts.items()) + "\n}\n"


def _table(table: Table) -> str:
    head = {key: value for key, value in vars(table).items() if key != "rows"}
    return f'{_line(head)[:-1]}, "rows": {_lines([_line(_plain(row)) for row in table.rows])}}}'


def _plain(row: Any) -> dict[str, Any]:
    """Take a row's fields, and those of a dataclass among them."""
    return {key: vars(value) if hasattr(value, "__dict__") else value for key, value in vars(row).items()}


def _lines(texts: list[str]) -> str:
    return "[" + ",".join(f"\n{text}" for text in texts) + "]"


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
