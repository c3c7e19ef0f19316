"""Sets all boards in one self-contained HTML page, which needs no network and works without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from rrsis_bench._version import __version__
from rrsis_bench.boards.addresses import addresses
from rrsis_bench.boards.board import SMOKE, Board
from rrsis_bench.boards.render.cells import Column, address, run_name
from rrsis_bench.boards.render.colours import INK, PAPER, RULE
from rrsis_bench.boards.render.drawings import slot
from rrsis_bench.boards.render.plots import part_names, plots, room
from rrsis_bench.boards.render.templating import TEMPLATES, environment
from rrsis_bench.boards.render.views import TableView, best, in_order, legend, status, views
from rrsis_bench.boards.rows import Row, Table
from rrsis_bench.data.catalogue import describe
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.results import gallery
from rrsis_bench.results.breakdown import PARTS
from rrsis_bench.run.layout import RESULT

FORMAT_NAMES = {"md": "Markdown", "csv": "CSV", "json": "JSON", "tex": "LaTeX"}
HEADINGS = {
    "accuracy": "Accuracy against trainable parameters",
    "failures": "What predictions are",
    "reliability": "Reliability: do probabilities say how often they are right?",
}
"""Kind of plot -> heading of the page; the page shows no other kinds."""
LARGEST = 5_000_000
"""Bytes of the page, with its drawings."""
MOST_ROWS = (500, 200, 100, 50, 20, 10)
"""Rows of each table that a page of too many results may show: the first of these numbers that fits."""
ROW_HEADS = ("method", "dataset", "sample_id")
"""Columns that name their rows."""
LINKED = {"source", "table", "quoted_by", "note", "link"}
"""Columns whose text may name a paper or a page."""


def page(boards: Sequence[Board], formats: Sequence[str] = (), link: str = "../", largest: int = LARGEST) -> str:
    """Write the page; its plots are slots that `drawings.fill` draws in.

    A page that would be too large shows fewer rows of each table, and says below the table how many.

    Args:
        boards: what to show; real data first.
        formats: suffixes of the files beside the page that hold a board each.
        link: leads from the page to the results folder.
        largest: bytes of the page at most, drawings included.

    Raises:
        UserError: the page would be too large even with few rows.
    """
    drawings = sum(room(data) for board in boards for data in plots(board).values() if data["plot"] in HEADINGS)
    lengths = [len(view.rows) for board in boards for view in views(board)]
    most, text = None, _page(boards, formats, link, None)
    whole = size = len(text.encode("utf-8")) + drawings
    for fewer in (number for number in MOST_ROWS if number < max(lengths, default=0)):
        if size <= largest:
            break
        kept = sum(min(fewer, length) for length in lengths) / sum(lengths)
        if kept * whole < 1.2 * largest or fewer == MOST_ROWS[-1]:  # else it is not worth the time to try
            most, text = fewer, _page(boards, formats, link, fewer)
            size = len(text.encode("utf-8")) + drawings
    if size <= largest:
        return text
    raise UserError(
        f"the HTML page would have {size / 1e6:.1f} MB with {most or 'all'} rows of each table, and may have "
        f"{largest / 1e6:g} MB. Make a page of one board with --board NAME, or none: --format md csv json tex svg."
    )


def _page(boards: Sequence[Board], formats: Sequence[str], link: str, most: int | None) -> str:
    shown = [_board(board, formats, link, most) for board in in_order(boards)]
    data = {board["name"]: board.pop("data") for board in shown}
    return (
        environment("html")
        .get_template("index.html.j2")
        .render(
            boards=shown,
            style=_asset("style.css"),
            script=_asset("page.js"),
            data=_script_json({"boards": data, "scenes": _scenes(boards)}),
            colours={"ink": INK, "paper": PAPER, "rule": RULE},
            version=__version__,
        )
    )


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8").rstrip())


def _script_json(value: Any) -> Markup:
    """Write JSON that cannot end the script element around it."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def linked(text: str) -> Markup:
    """Escape a text, and make links of the addresses, arXiv numbers and DOIs that it names."""
    parts, place = [], 0
    for begin, end, target in addresses(text):
        link = Markup('<a href="{}">{}</a>').format(Markup.escape(target), text[begin:end])
        parts += [Markup.escape(text[place:begin]), link]
        place = end
    return Markup("").join([*parts, Markup.escape(text[place:])])


def _data(board: Board) -> Markup:
    """Say where the data of a board are from; empty where nothing is known."""
    if board.layout != "scores":
        return Markup("")
    info = describe("tiny" if board.name == SMOKE else board.name)
    licence = f"licence: {info.licence}" if info.licence else ""
    return Markup("; ").join(linked(text) for text in (info.paper, info.where, licence) if text)


def _board(board: Board, formats: Sequence[str], link: str, most: int | None) -> dict[str, Any]:
    cut = [replace(table, rows=table.rows[:most]) for table in board.tables if board.layout == "scores"]
    tables = [_comparable(table) for table in cut]
    names = {row.name for table in cut for row in table.rows}
    return {
        "name": board.name,
        "title": board.title,
        "notice": _code(board.notice),
        "status": status(board),
        "made": board.made,
        "source": _data(board),
        "files": [{"href": f"{board.name}.{suffix}", "text": FORMAT_NAMES[suffix]} for suffix in formats],
        "legend": [_code(part) for part in legend(board).split("\n\n") if part],
        "views": [_view(view, link, most) for view in views(board)],
        "figures": _figures(board),
        "compares": any(len(table["methods"]) > 0 for table in tables),
        "pictures": bool(board.pictures),
        "data": {"tables": tables, "pictures": {name: one for name, one in board.pictures.items() if name in names}},
    }


def _figures(board: Board) -> list[dict[str, Any]]:
    """The slots of the pictures under each heading."""
    found: dict[str, list[dict[str, Any]]] = {}
    for data in plots(board).values():
        if data["plot"] in HEADINGS:
            # matplotlib writes the title into the picture.
            caption = "" if data["plot"] == "accuracy" else data["title"]
            found.setdefault(HEADINGS[data["plot"]], []).append({"caption": caption, "slot": Markup(slot(data))})
    return [{"heading": heading, "plots": slots} for heading, slots in found.items()]


def _code(text: str) -> Markup:
    """Set the `names` in a sentence as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(Markup.escape(text))))


def _comparable(table: Table) -> dict[str, Any]:
    """Collect what the side-by-side comparison needs of a table: mIoU by part, in percent to two decimals."""
    return {
        "title": f"{table.dataset}, {table.split} split, {table.kind}",
        "methods": [{"name": row.name, "parts": _part_values(table, row)} for row in table.rows if _has_parts(row)],
        "parts": {kind: part_names(kind, table.rows) for kind in PARTS},
    }


def _has_parts(row: Row) -> bool:
    return any(row.parts.values())


def _part_values(table: Table, row: Row) -> dict[str, list[float | None]]:
    found = {}
    for kind in PARTS:
        values = [row.parts[kind].get(name) for name in part_names(kind, table.rows)]
        found[kind] = [None if value is None else round(100 * value, 2) for value in values]
    return found


def _scenes(boards: Sequence[Board]) -> list[Mapping[str, Any]]:
    """List the gallery's scenes, if any board has pictures of them."""
    if not any(board.pictures for board in boards):
        return []
    return [
        {"id": scene.sample_id, "text": scene.text, "size": list(scene.size), "truth": scene.truth, "jpeg": scene.jpeg}
        for scene in gallery.bundled().scenes
    ]


def _view(view: TableView, link: str, most: int | None) -> dict[str, Any]:
    places = list(range(len(view.columns)))
    if not view.plain:
        places.sort(key=lambda place: _rank(view.columns[place], view.columns))
    columns = [view.columns[place] for place in places]
    bests = [best(column, view.rows) for column in columns]
    return {
        "caption": view.caption,
        "remarks": [*view.remarks, *_left_out(len(view.rows), most)],
        "measured": view.measured,
        "columns": [
            {"title": column.title, "help": column.help, "left": column.left, "sorts": column.folders is None}
            for column in columns
        ],
        "rows": [
            [
                _cell(column, texts[place], top, row, link)
                for column, place, top in zip(columns, places, bests, strict=True)
            ]
            for row, texts in zip(view.rows[:most], view.cells[:most], strict=True)
        ],
    }


def _left_out(rows: int, most: int | None) -> list[str]:
    """Say that a table is longer than the page shows it."""
    if most is None or rows <= most:
        return []
    said = f"The page shows the first {most} of {rows:,} rows, to stay below {LARGEST / 1e6:g} MB."
    return [f"{said} The board's other files hold all of them."]


def _rank(column: Column, columns: Sequence[Column]) -> int:
    """Place of a column in the page: a narrow screen shows the scores, or else the costs, beside the method."""
    if column.name in ("rank", "method"):
        return 0
    scored = any(other.name in METRICS for other in columns)
    return 1 if (column.name in METRICS if scored else not column.left) else 2


def _cell(column: Column, text: str, top: float | None, row: Any, link: str) -> dict[str, Any]:
    value = column.value(row)
    links = []
    if column.folders is not None:
        links = [
            {"href": f"{link}{address(f'{folder}/{RESULT}')}", "text": run_name(folder)}
            for folder in column.folders(row)
        ]
    shown, _, spread = text.partition(" ± ")
    return {
        "text": linked(text) if column.name in LINKED else shown,
        "spread": f"± {spread}" if spread else "",
        "length": len(text),
        "paper": row.get("paper", "") if isinstance(row, Mapping) else getattr(row, "paper", ""),
        "key": "" if value is None else str(value),
        "best": top is not None and value == top,
        "left": column.left,
        "links": links,
        "name": column.name in ROW_HEADS,
    }
