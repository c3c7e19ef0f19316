"""Boards as CSV: one line per row, fractions at full precision, empty where not known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.published import PublishedCost, PublishedRow
from rrsis_bench.boards.rows import CARD_FIELDS, EFFICIENCY, SHOWN, Row, Table

HEADER = (
    "dataset", "split", "kind", "rank", "method", "variant", *CARD_FIELDS,
    *(column for name in SHOWN for column in (name, f"{name}_sd")), "miou_low", "miou_high", "permuted_oiou_ratio",
    "n_seeds", *(f"published_{name}" for name in SHOWN), "published_protocol", "published_protocol_miou",
    "published_difference", "verdict", "source", "read_in", "quoted_by", "note", *EFFICIENCY, "measured_on",
    "published_parameters_m", "published_multiply_adds_g", "published_fps", "selected_on", "runs",
)  # fmt: skip
"""Published values have columns of their own, so that they never stand in one with measured ones."""


def page(board: Board) -> str:
    """All tables of a board in one file; `dataset`, `split` and `kind` tell them apart."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_lines(board))
    return stream.getvalue()


def _lines(board: Board) -> Iterator[dict[str, Any]]:
    for table in board.tables:
        for row in table.rows:
            yield _measured(table, row)
    for printed in board.published:
        yield {"dataset": board.name, **_published(printed)}
    for cost in board.costs:
        yield _cost(cost)


def _measured(table: Table, row: Row) -> dict[str, Any]:
    low, high = row.interval or ("", "")
    line = {
        "dataset": table.dataset, "split": table.split, "kind": table.kind, "rank": row.rank, "method": row.method,
        "variant": row.variant, **row.card, **row.mean, **{f"{name}_sd": value for name, value in row.sd.items()},
        "miou_low": low, "miou_high": high, "permuted_oiou_ratio": row.control, "n_seeds": row.n_seeds,
        **row.efficiency, "measured_on": row.measured_on, "selected_on": row.selected_on, "runs": " ".join(row.runs),
    }  # fmt: skip
    if row.published is not None:
        line |= {
            "published_miou": row.published.value,
            "published_protocol": row.published.protocol,
            "published_protocol_miou": row.published.measured,
            "published_difference": row.published.difference,
            "verdict": row.published.verdict,
            "source": row.published.source,
            "quoted_by": row.published.quoted_by,
        }
    return line


def _published(row: PublishedRow) -> dict[str, Any]:
    return {
        "split": row.split, "kind": "published", "method": row.method, "encoders": row.encoders,
        **{f"published_{name}": row.values[name] for name in SHOWN if name in row.values},
        "published_protocol": row.protocol, "verdict": "published only", "source": row.source, "read_in": row.table,
        "quoted_by": row.quoted_by, "note": row.note,
    }  # fmt: skip


def _cost(row: PublishedCost) -> dict[str, Any]:
    return {
        "kind": "published", "method": row.method, "published_parameters_m": row.parameters_m,
        "published_multiply_adds_g": row.multiply_adds_g, "published_fps": row.fps, "measured_on": row.device,
        "source": row.source, "note": row.note,
    }  # fmt: skip
