"""Boards as LaTeX tables: booktabs, the best of each column bold."""

from __future__ import annotations

from typing import Any

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.render.templating import environment
from rrsis_bench.boards.render.views import TableView, best, status, views

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "Δ": r"$\Delta$", "<": r"$<$",
    ">": r"$>$", "×": r"$\times$",
}  # fmt: skip


def escape(text: str) -> str:
    """Escape a text: LaTeX then prints it as it stands."""
    line = " ".join("".join(_ESCAPES.get(sign, sign) for sign in text).split())
    # After the end of a row, LaTeX takes these for an argument of it, and not for a cell.
    return f"{{{line[0]}}}{line[1:]}" if line.startswith(("[", "*")) else line


def page(board: Board) -> str:
    """Write one `table` for each of the board's tables; a board without tables is a comment."""
    template = environment("tex").get_template("board.tex.j2")
    return template.render(views=[_view(view) for view in views(board)], status=escape(status(board))).rstrip() + "\n"


def _view(view: TableView) -> dict[str, Any]:
    kept = [place for place, column in enumerate(view.columns) if column.printed]
    columns = [view.columns[place] for place in kept]
    bests = [best(column, view.rows) for column in columns]
    rows = [
        [
            rf"\textbf{{{escape(texts[place])}}}"
            if top is not None and column.value(row) == top
            else escape(texts[place])
            for place, column, top in zip(kept, columns, bests, strict=True)
        ]
        for row, texts in zip(view.rows, view.cells, strict=True)
    ]
    return {
        "caption": escape(view.caption),
        "remarks": [escape(remark) for remark in view.remarks],
        "columns": [{"title": escape(column.title), "align": "l" if column.left else "r"} for column in columns],
        "rows": rows,
    }
