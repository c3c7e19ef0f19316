"""A board's tables, ready to be set in any format that people read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from rrsis_bench.boards.board import SMOKE, Board
from rrsis_bench.boards.published import PublishedCost, PublishedRow
from rrsis_bench.boards.render import beside
from rrsis_bench.boards.render.cells import Column
from rrsis_bench.boards.render.columns import (
    cost_columns,
    published_columns,
    published_cost_columns,
    score_columns,
)
from rrsis_bench.boards.rows import Row, Table

KIND_TITLES: Mapping[str, str] = {
    "retrained": "retrained by this project",
    "official-weights": "the authors' own weights",
    "zero-shot": "published weights as they are, nothing trained here",
    "external": "predictions made elsewhere",
    "smoke": "smoke",
}
NONE_MEASURED = "None is measured here: no method has a result of this suite on this data set yet."


@dataclass(frozen=True)
class TableView:
    """A table ready to be set in any format.

    Attributes:
        caption: what it is a table of.
        columns: those with a value in any row.
        rows: what the columns read.
        cells: what the columns show of each row.
        remarks: sentences to stand below it.
        measured: whether its rows were measured here.
        plain: whether its columns stand in the order of their importance already.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]
    cells: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    measured: bool
    plain: bool = False


@lru_cache(maxsize=64)
def views(board: Board) -> tuple[TableView, ...]:
    """Make a board's tables: measured ones first, then published ones. All formats ask for the same ones."""
    found = [_measured_view(table, board) for table in board.tables]
    for shown in board.beside:
        view = _view(shown.caption, partial(beside.columns, shown), shown.rows, shown.remarks, True)
        found.append(replace(view, plain=True))
    splits = sorted(
        {row.split for row in board.published},
        key=lambda name: ("test", "val").index(name) if name in ("test", "val") else 2,
    )
    for split in splits:
        rows = tuple(row for row in board.published if row.split == split)
        named = f"{split} split" if split in ("test", "val") else f"split {split}"
        found.append(_view(f"{board.title}, {named}, published", published_columns, rows, (), False))
    if board.costs:
        found.append(_view("published", published_cost_columns, board.costs, (), False))
    return tuple(found)


def _measured_view(table: Table, board: Board) -> TableView:
    kind = KIND_TITLES[table.kind]
    if board.layout == "costs":
        return _view(kind, cost_columns, table.rows, (), True)
    samples = " or ".join(f"{count:,}" for count in table.n_samples)
    remarks = []
    if len(table.contents) > 1 or len(table.n_samples) > 1:
        remarks.append(
            "These rows were scored on different versions of the data and cannot be compared with one another."
        )
    on_test = [row.name for row in table.rows if row.selected_on == table.split]
    if on_test:
        remarks.append(f"Checkpoint chosen on the very split that is scored: {', '.join(on_test)}.")
    caption = f"{table.dataset}, {table.split} split, {kind} ({samples} samples)"
    return _view(caption, score_columns, table.rows, tuple(remarks), True)


def _view(
    caption: str,
    columns: Callable[[], Sequence[Column]],
    rows: Sequence[Row] | Sequence[PublishedRow] | Sequence[PublishedCost] | Sequence[Mapping[str, Any]],
    remarks: tuple[str, ...],
    measured: bool,
) -> TableView:
    filled = [(column, texts) for column in columns() if any(texts := [column.text(row) for row in rows])]
    cells = tuple(zip(*(texts for _, texts in filled), strict=True))
    return TableView(caption, tuple(column for column, _ in filled), tuple(rows), cells, remarks, measured)


def best(column: Column, rows: Sequence[Any]) -> float | None:
    """Find the value to set bold in a column; None where fewer than two are known, or several show a best of zero."""
    known = [(value, column.text(row)) for row in rows if isinstance(value := column.value(row), int | float)]
    if not column.best or len(known) < 2:
        return None
    value, text = (max if column.best == "max" else min)(known, key=lambda one: one[0])
    zeros = sum(_shows_zero(other) for _, other in known)
    return None if _shows_zero(text) and zeros > 1 else value


def _shows_zero(text: str) -> bool:
    return re.match(r"0(\.0+)?(?![\d.])", text) is not None


def in_order(boards: Iterable[Board]) -> list[Board]:
    """Sort boards for readers: the synthetic split comes after all real data."""
    return sorted(boards, key=lambda board: board.name == SMOKE)


def status(board: Board) -> str:
    """Say that nothing was measured for a board; "" where something was."""
    if board.measured:
        return ""
    return NONE_MEASURED if board.published or board.layout == "costs" else "No results yet."


def legend(board: Board) -> str:
    """Say what the columns of the board's tables mean."""
    parts = [beside.LEGENDS[shows] for shows in dict.fromkeys(table.shows for table in board.beside)]
    if board.measured and board.layout == "scores":
        parts.append(
            "Percent under `native-v1`. Mean over seeds, ± standard deviation where there is more than one. "
            "95 %: bootstrap interval of mIoU over images. #: rank group; methods whose difference in mIoU from the "
            "best of their group is no more than chance (paired over images, Holm) share a rank. Permuted: oIoU with "
            "permuted expressions over oIoU; near 1, a method does not read the text. Parameters in millions, latency "
            "at batch 1. An empty cell is not known; a column in which nothing is known is left out."
        )
    if board.published:
        parts.append(
            "Published numbers are percent as printed, by rules that differ between papers and are not always known, "
            "so they have no rank. Source: the paper or page a method is from; a number that was quoted again need not "
            "stand in it: `quoted by` and `read in` say where it was read."
        )
    return "\n\n".join(parts)
