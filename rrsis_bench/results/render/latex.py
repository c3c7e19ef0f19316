"""Boards as LaTeX tables: booktabs, the best of each column bold."""

from __future__ import annotations

from typing import Any

from rrsis_bench.results.board import Board
from rrsis_bench.results.render.columns import View, best, status, views
from rrsis_bench.results.render.templating import environment

LEFT_OUT = {"encoders", "runs", "note", "read in", "verdict", "on", "95 %"}
"""Columns that a printed page has no room for."""

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "Δ": r"$\Delta$", "<": r"$<$",
    ">": r"$>$", "×": r"$\times$",
}  # fmt: skip


def escape(text: str) -> str:
    """A text that LaTeX prints as it stands."""
    return " ".join("".join(_ESCAPES.get(sign, sign) for sign in text).split())


def page(board: Board) -> str:
    """One `table` for each of the board's tables; what has no data is a comment."""
    template = environment("tex").get_template("board.tex.j2")
    return template.render(views=[_view(view) for view in views(board)], status=escape(status(board))).rstrip() + "\n"


def _view(view: View) -> dict[str, Any]:
    columns = [column for column in view.columns if column.title not in LEFT_OUT]
    bests = [best(column, view.rows) for column in columns]
    rows = [
        [
            rf"\textbf{{{escape(column.text(row))}}}"
            if top is not None and column.value(row) == top
            else escape(column.text(row))
            for column, top in zip(columns, bests, strict=True)
        ]
        for row in view.rows
    ]
    return {
        "caption": escape(view.caption),
        "remarks": [escape(remark) for remark in view.remarks],
        "columns": [{"title": escape(column.title), "align": "l" if column.left else "r"} for column in columns],
        "rows": rows,
    }
