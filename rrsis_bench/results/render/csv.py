"""Boards as CSV: one line per row, fractions at full precision, empty where not known."""

from __future__ import annotations

import csv
import io

from rrsis_bench.results.board import CARD_FIELDS, EFFICIENCY, SHOWN, Board


def page(board: Board) -> str:
    """All tables of a board in one file; `dataset`, `split` and `kind` tell them apart."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    measures = [column for name in SHOWN for column in (name, f"{name}_sd")]
    bounds = [f"{name}_{end}" for name in ("miou", "oiou") for end in ("low", "high")]
    identity = ["dataset", "split", "kind", "rank", "method", "variant"]
    ending = ["permuted_oiou_ratio", "n_seeds", *EFFICIENCY, "selected_on", "runs"]
    writer.writerow([*identity, *CARD_FIELDS, *measures, *bounds, *ending])
    for table in board.tables:
        for row in table.rows:
            pairs = [row.interval[name] or ("", "") for name in ("miou", "oiou")]
            writer.writerow(
                [table.dataset, table.split, table.kind, row.rank, row.method, row.variant]
                + [row.card[name] for name in CARD_FIELDS]
                + [value for name in SHOWN for value in (row.mean[name], row.sd[name])]
                + [end for pair in pairs for end in pair]
                + [row.control, row.n_seeds, *(row.efficiency[name] for name in EFFICIENCY)]
                + [row.selected_on, " ".join(row.runs)]
            )
    return stream.getvalue()
