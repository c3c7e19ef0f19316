"""Boards as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.render.cells import Column, address, run_name
from rrsis_bench.boards.render.views import TableView, in_order, legend, status, views

GENERATED = "<!-- Made by `rrsis-bench leaderboard`; edits are overwritten. -->"


_MARKS = re.compile(r"[\\`|\[\]*]|~~|(?<!\w)_|_(?!\w)|(?<=^)[#>](?=\s|>|#)")
_HTML = re.compile(r"<|&(?=#?\w+;)")


def escape(text: str) -> str:
    """Escape a text: Markdown then shows it as it stands, in a table too: no link, code, HTML, emphasis or new cell."""
    line = " ".join(text.split())
    return _HTML.sub(lambda found: html.escape(found[0]), _MARKS.sub(lambda found: "\\" + found[0], line))


def _shown(column: Column, row: object, text: str, link: str) -> str:
    if column.folders is not None:
        names = ((escape(run_name(folder)), f"{link}{address(folder)}") for folder in column.folders(row))
        return " ".join(f"[{name}]({target})" for name, target in names)
    return escape(text)


def table(view: TableView, link: str) -> str:
    """Write one table with its caption and remarks; `link` leads from the page to the results folder."""
    lines = [[column.title for column in view.columns], [":---" if column.left else "---:" for column in view.columns]]
    lines += [
        [_shown(column, row, text, link) for column, text in zip(view.columns, texts, strict=True)]
        for row, texts in zip(view.rows, view.cells, strict=True)
    ]
    parts = [f"**{escape(view.caption)}**", "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    return "\n\n".join([*parts, *map(escape, view.remarks)])


def section(board: Board, link: str, published: bool = True) -> str:
    """Write a board's notice and tables, without its title.

    Args:
        board: what to show.
        link: leads from the page to the results folder, such as `../`.
        published: show what is published too; a README is short without it.
    """
    shown = [view for view in views(board) if view.measured or published]
    said = status(board)
    parts = [f"> {board.notice}"] if board.notice else []
    parts += [f"**{said}**" if board.published or board.costs else said] if said else []
    parts += [table(view, link) for view in shown]
    return "\n\n".join([*parts, legend(board)] if shown and legend(board) else parts)


def page(board: Board) -> str:
    """Write the board's own page, for the folder `leaderboard/`."""
    return f"{GENERATED}\n\n# {escape(board.title)}\n\n{section(board, '../')}\n"


def index(boards: Sequence[Board]) -> str:
    """Write the page that lists the boards."""
    lines = ["| board | measured rows | published rows |", "|:---|---:|---:|"]
    for board in in_order(boards):
        printed = len(board.published) + len(board.costs)
        lines.append(f"| [{escape(board.title)}]({board.name}.md) | {board.measured} | {printed} |")
    text = (
        "Made from the result files by `rrsis-bench leaderboard`. Each board is there as Markdown, CSV, JSON and "
        "LaTeX, and as SVG plots where methods were measured; [`index.html`](index.html) holds all of them in one page "
        "to sort, filter and look at."
    )
    return f"{GENERATED}\n\n# Leaderboards\n\n{text}\n\n" + "\n".join(lines) + "\n"
