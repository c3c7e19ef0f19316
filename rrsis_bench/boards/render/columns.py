"""What the tables show: one list of columns for each kind of table, for every format that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rrsis_bench.boards.board import Board
from rrsis_bench.boards.published import PublishedCost, PublishedRow
from rrsis_bench.boards.rows import Row, Table

KIND_TITLES: Mapping[str, str] = {
    "retrained": "retrained by this project",
    "official-weights": "the authors' own weights",
    "external": "predictions made elsewhere",
    "smoke": "smoke",
}
METRIC_TITLES: Mapping[str, str] = {
    "miou": "mIoU",
    "oiou": "oIoU",
    "pr50": "Pr@.5",
    "pr70": "Pr@.7",
    "pr90": "Pr@.9",
}
NONE_MEASURED = "None is measured here: no method has a result of this suite on this data set yet."


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: its heading; short, for phones.
        text: what a cell shows; "" where nothing is known.
        value: what a cell is sorted by; None last.
        left: text is set flush left, a number flush right.
        best: `max` or `min` where the best cell is to be set bold; "" elsewhere.
        help: what the heading means.
    """

    title: str
    text: Callable[[Any], str]
    value: Callable[[Any], float | str | None]
    left: bool = False
    best: str = ""
    help: str = ""


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction as percent with two decimals; empty for None."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """A scaled number; empty for None."""
    return "" if value is None else f"{value * scale:,.{digits}f}"


def _metric(name: str) -> Column:
    def text(row: Row) -> str:
        sd = row.sd[name]
        return percent(row.mean[name]) + ("" if sd is None else f" ± {percent(sd)}")

    return Column(METRIC_TITLES[name], text, lambda row: row.mean[name], best="max")


def _cost(title: str, name: str, scale: float = 1.0, digits: int = 1, best: str = "min", help: str = "") -> Column:
    return Column(
        title,
        lambda row: number(row.efficiency[name], scale, digits),
        lambda row: row.efficiency[name],
        best=best,
        help=help,
    )


def _difference(row: Row) -> str:
    return "" if row.published is None else f"{100 * row.published.difference:+.2f}"


def _interval(row: Row) -> str:
    return "" if row.interval is None else f"{percent(row.interval[0])} – {percent(row.interval[1])}"


def _quoted(row: Row) -> str:
    if row.published is None:
        return ""
    more = f" (+{row.published.others} other)" if row.published.others else ""
    return f"{percent(row.published.value)}{more}"


def _card(name: str) -> Callable[[Row], str]:
    return lambda row: row.card[name] or ""


def _venue(row: Row) -> str:
    return " ".join(part for part in (row.card["venue"], row.card["year"]) if part)


RUNS = Column("runs", lambda row: " ".join(folder.rpartition("/")[2] for folder in row.runs), lambda row: None, True)
"""The cell's words are the names of the folders in `Row.runs`; formats that can link them do."""

_NAME = Column("method", lambda row: row.name, lambda row: row.name.lower(), left=True)
_PARAMETERS = (
    _cost("trainable", "trainable_parameters", 1e-6, 2, help="trainable parameters in millions"),
    _cost("total", "parameters", 1e-6, 2, help="all parameters in millions, text encoder included"),
)
_SPEED = (
    _cost("GFLOPs", "gflops", digits=2, help="of one forward pass; a multiply-add counts as 2"),
    _cost("ms", "latency_ms", help="median latency at batch 1 in milliseconds"),
    _cost("MB", "memory_mb", digits=0, help="peak memory at inference in MiB"),
)

SCORES: Sequence[Column] = (
    Column(
        "#",
        lambda row: "" if row.rank is None else str(row.rank),
        lambda row: row.rank,
        help="rank group: who cannot be told from the best shares its rank",
    ),
    _NAME,
    Column("venue", _venue, lambda row: row.card["year"], True),
    Column("encoders", _card("encoders"), _card("encoders"), True),
    Column("fidelity", _card("fidelity"), _card("fidelity"), True, help="how close to the authors' own network"),
    _metric("miou"),
    Column("95 %", _interval, lambda row: row.interval and row.interval[0], help="interval of mIoU over images"),
    *(_metric(name) for name in ("oiou", "pr50", "pr70", "pr90")),
    Column(
        "permuted",
        lambda row: number(row.control, digits=2),
        lambda row: row.control,
        best="min",
        help="oIoU with permuted expressions over oIoU; near 1, a method does not read the text",
    ),
    Column("seeds", lambda row: str(row.n_seeds), lambda row: row.n_seeds, help="number of runs"),
    Column(
        "published",
        _quoted,
        lambda row: row.published and row.published.value,
        help="published mIoU of this very variant",
    ),
    Column(
        "by rule",
        lambda row: "" if row.published is None else percent(row.published.measured),
        lambda row: row.published and row.published.measured,
        help="measured mIoU by the rules the published one was scored by, where they are known",
    ),
    Column("Δ", _difference, lambda row: row.published and row.published.difference, help="by rule less published"),
    Column(
        "verdict",
        lambda row: "" if row.published is None else row.published.verdict,
        lambda row: row.published and row.published.verdict,
        True,
        help="reproduced: within the larger of 1.0 point and 2 sd; a reconstruction reproduces nothing",
    ),
    *_PARAMETERS,
    *_SPEED,
    RUNS,
)

COSTS: Sequence[Column] = (
    _NAME,
    *SCORES[2:5],
    *_PARAMETERS,
    Column(
        "encoder share",
        lambda row: (
            ""
            if row.efficiency["encoder_trainable_share"] is None
            else f"{percent(row.efficiency['encoder_trainable_share'])} %"
        ),
        lambda row: row.efficiency["encoder_trainable_share"],
        best="min",
        help="trainable parameters inside the encoders over the encoders' own",
    ),
    _SPEED[0],
    _SPEED[1],
    _cost("p95 ms", "latency_p95_ms", help="95th percentile of the latency at batch 1"),
    _cost("samples/s", "throughput", best="max", help="throughput at the stated batch"),
    _SPEED[2],
    _cost("train MB", "training_memory_mb", digits=0, help="peak memory of a training pass in MiB"),
    Column("on", lambda row: row.measured_on, lambda row: row.measured_on, True),
    RUNS,
)


def _printed(name: str) -> Column:
    return Column(METRIC_TITLES[name], lambda row: percent(row.values.get(name)), lambda row: row.values.get(name))


PUBLISHED: Sequence[Column] = (
    Column("method", lambda row: row.method, lambda row: row.method.lower(), True),
    Column("source", lambda row: row.source, lambda row: row.source, True, help="paper or page it is from"),
    Column("encoders", lambda row: row.encoders, lambda row: row.encoders, True),
    *(_printed(name) for name in METRIC_TITLES),
    Column("quoted by", lambda row: row.quoted_by, lambda row: row.quoted_by, True),
    Column("read in", lambda row: row.table, lambda row: row.table, True),
    Column("note", lambda row: row.note, lambda row: row.note, True),
    Column("verdict", lambda row: "published only", lambda row: "", True),
)

PUBLISHED_COSTS: Sequence[Column] = (
    Column("method", lambda row: row.method, lambda row: row.method.lower(), True),
    Column("parameters", lambda row: number(row.parameters_m, digits=2), lambda row: row.parameters_m, help="millions"),
    Column(
        "multiply-adds",
        lambda row: number(row.multiply_adds_g, digits=2),
        lambda row: row.multiply_adds_g,
        help="10^9, as printed under the name GFLOPs",
    ),
    Column("frames/s", lambda row: number(row.fps, digits=2), lambda row: row.fps),
    Column("on", lambda row: row.device, lambda row: row.device, True),
    Column("source", lambda row: row.source, lambda row: row.source, True),
    Column("note", lambda row: row.note, lambda row: row.note, True),
)


@dataclass(frozen=True)
class View:
    """A table ready to be set in any format.

    Attributes:
        caption: what it is a table of.
        columns: those with a value in any row.
        rows: what the columns read.
        cells: what the columns show of each row.
        remarks: sentences to stand below it.
        measured: whether its rows were measured here.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]
    cells: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    measured: bool


@lru_cache(maxsize=64)
def views(board: Board) -> tuple[View, ...]:
    """A board's tables in order: measured, then published. Every format asks for the same ones."""
    found = [_measured_view(table, board) for table in board.tables]
    splits = sorted(
        {row.split for row in board.published},
        key=lambda name: ("test", "val").index(name) if name in ("test", "val") else 2,
    )
    for split in splits:
        rows = tuple(row for row in board.published if row.split == split)
        named = f"{split} split" if split in ("test", "val") else f"split {split}"
        found.append(_view(f"{board.title}, {named}, published", PUBLISHED, rows, (), False))
    if board.costs:
        found.append(_view("published", PUBLISHED_COSTS, board.costs, (), False))
    return tuple(found)


def _measured_view(table: Table, board: Board) -> View:
    kind = KIND_TITLES[table.kind]
    if board.layout == "costs":
        return _view(kind, COSTS, table.rows, (), True)
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
    return _view(caption, SCORES, table.rows, tuple(remarks), True)


def _view(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row] | Sequence[PublishedRow] | Sequence[PublishedCost],
    remarks: tuple[str, ...],
    measured: bool,
) -> View:
    shown = [[column.text(row) for row in rows] for column in columns]
    kept = [place for place, texts in enumerate(shown) if any(texts)]
    cells = tuple(zip(*(shown[place] for place in kept), strict=True))
    return View(caption, tuple(columns[place] for place in kept), tuple(rows), cells, remarks, measured)


def best(column: Column, rows: Sequence[Any]) -> float | None:
    """The value to set bold in a column; None where there is none, or nothing to compare it with."""
    known = [value for row in rows if isinstance(value := column.value(row), int | float)]
    if not column.best or len(known) < 2:
        return None
    return max(known) if column.best == "max" else min(known)


def status(board: Board) -> str:
    """A sentence on what was measured for a board; "" where the tables say it."""
    if board.measured:
        return ""
    return NONE_MEASURED if board.published or board.layout == "costs" else "No results yet."


def legend(board: Board) -> str:
    """What the columns mean, as far as the board has such tables."""
    parts = []
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
