"""The columns of the boards' tables: `Column` for people, `Field` for programs (CSV).

A further column is an entry here and, where it needs a value that no row holds yet, an attribute of `rows.Row`. Every
format follows: Markdown, LaTeX and HTML from the columns, CSV from the fields, JSON from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rrsis_bench.boards.render.cells import Column, Field, number, percent, runs_column, spread
from rrsis_bench.boards.rows import CARD_FIELDS, EFFICIENCY, RANKED_BY, Row
from rrsis_bench.metrics.definitions import Metric, shown

# --- columns -------------------------------------------------------------------------------------------------------


def _attribute(name: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, name)


def _item(attribute: str, key: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, attribute).get(key)


def _said(name: str, title: str = "", help: str = "", printed: bool = True) -> Column:
    """A column of text that the row holds under this name."""
    return Column(name, title or name, _attribute(name), _attribute(name), left=True, help=help, printed=printed)


def _card(name: str, help: str = "", printed: bool = True) -> Column:
    def text(row: Row) -> str:
        return row.card[name] or ""

    return Column(name, name, text, text, left=True, help=help, printed=printed)


def _metric(metric: Metric) -> Column:
    name = metric.name
    return Column(
        name, metric.title, lambda row: spread(row.mean[name], row.sd[name]), lambda row: row.mean[name], best="max"
    )


def _printed_metric(metric: Metric) -> Column:
    value = _item("values", metric.name)
    return Column(metric.name, metric.title, lambda row: percent(value(row)), value)


def _cost(name: str, title: str, scale: float = 1.0, digits: int = 1, best: str = "min", help: str = "") -> Column:
    value = _item("efficiency", name)
    return Column(name, title, lambda row: number(value(row), scale, digits), value, best=best, help=help)


def _number(name: str, title: str, help: str = "") -> Column:
    value = _attribute(name)
    return Column(name, title, lambda row: number(value(row), digits=2), value, help=help)


def _interval(row: Row) -> str:
    return "" if row.interval is None else f"{percent(row.interval[0])} – {percent(row.interval[1])}"


def _quoted(row: Row) -> str:
    if row.published is None:
        return ""
    more = f" (+{row.published.others} other)" if row.published.others else ""
    return f"{percent(row.published.value)}{more}"


def _venue(row: Row) -> str:
    return " ".join(part for part in (row.card["venue"], row.card["year"]) if part)


def _encoder_share(row: Row) -> str:
    share = row.efficiency["encoder_trainable_share"]
    return "" if share is None else f"{percent(share)} %"


METHOD = Column("method", "method", lambda row: row.name, lambda row: row.name.lower(), left=True)
PUBLISHED_METHOD = Column("method", "method", lambda row: row.method, lambda row: row.method.lower(), left=True)
VENUE = Column("venue", "venue", _venue, lambda row: row.card["year"], left=True)
ENCODERS = _card("encoders", printed=False)
FIDELITY = _card("fidelity", help="how close to the authors' own network")
INTERVAL = Column(
    "interval",
    "95 %",
    _interval,
    lambda row: row.interval and row.interval[0],
    help="interval of mIoU over images",
    printed=False,
)
TRAINABLE = _cost("trainable_parameters", "trainable", 1e-6, 2, help="trainable parameters in millions")
TOTAL = _cost("parameters", "total", 1e-6, 2, help="all parameters in millions, text encoder included")
GFLOPS = _cost("gflops", "GFLOPs", digits=2, help="of one forward pass; a multiply-add counts as 2")
LATENCY = _cost("latency_ms", "ms", help="median latency at batch 1 in milliseconds")
MEMORY = _cost("memory_mb", "MB", digits=0, help="peak memory at inference in MiB")
NOTE = _said("note", printed=False)
LINK = _said("link", help="page where the number was read, else the paper", printed=False)
RUNS = runs_column(lambda row: row.runs)


def score_columns() -> list[Column]:
    """List the columns of a table of measured scores."""
    scores = [_metric(metric) for metric in shown("tables")]
    place = 1 + [column.name for column in scores].index(RANKED_BY)
    return [
        Column(
            "rank",
            "#",
            lambda row: "" if row.rank is None else str(row.rank),
            lambda row: row.rank,
            help="rank group: who cannot be told from the best shares its rank",
        ),
        METHOD,
        VENUE,
        ENCODERS,
        FIDELITY,
        *scores[:place],
        INTERVAL,
        *scores[place:],
        Column(
            "permuted",
            "permuted",
            lambda row: number(row.control, digits=2),
            lambda row: row.control,
            best="min",
            help="oIoU with permuted expressions over oIoU; near 1, a method does not read the text",
        ),
        Column("seeds", "seeds", lambda row: str(row.n_seeds), lambda row: row.n_seeds, help="number of runs"),
        Column(
            "published",
            "published",
            _quoted,
            lambda row: row.published and row.published.value,
            help="published mIoU of this very variant",
        ),
        Column(
            "by_rule",
            "by rule",
            lambda row: "" if row.published is None else percent(row.published.measured),
            lambda row: row.published and row.published.measured,
            help="measured mIoU by the rules the published one was scored by, where they are known",
        ),
        Column(
            "difference",
            "Δ",
            lambda row: "" if row.published is None else f"{100 * row.published.difference:+.2f}",
            lambda row: row.published and row.published.difference,
            help="by rule less published",
        ),
        Column(
            "verdict",
            "verdict",
            lambda row: "" if row.published is None else row.published.verdict,
            lambda row: row.published and row.published.verdict,
            left=True,
            help="reproduced: within the larger of 1.0 point and 2 sd; a reconstruction reproduces nothing",
            printed=False,
        ),
        TRAINABLE,
        TOTAL,
        GFLOPS,
        LATENCY,
        MEMORY,
        RUNS,
    ]


def cost_columns() -> list[Column]:
    """List the columns of a table of measured costs."""
    return [
        METHOD,
        VENUE,
        ENCODERS,
        FIDELITY,
        TRAINABLE,
        TOTAL,
        Column(
            "encoder_trainable_share",
            "encoder share",
            _encoder_share,
            lambda row: row.efficiency["encoder_trainable_share"],
            best="min",
            help="trainable parameters inside the encoders over the encoders' own",
        ),
        GFLOPS,
        LATENCY,
        _cost("latency_p95_ms", "p95 ms", help="95th percentile of the latency at batch 1"),
        _cost("throughput", "samples/s", best="max", help="throughput at the stated batch"),
        MEMORY,
        _cost("training_memory_mb", "train MB", digits=0, help="peak memory of a training pass in MiB"),
        _said("measured_on", "on", printed=False),
        RUNS,
    ]


def published_columns() -> list[Column]:
    """List the columns of a table of published scores."""
    return [
        PUBLISHED_METHOD,
        _said("source", help="paper or page it is from"),
        _said("encoders", printed=False),
        *(_printed_metric(metric) for metric in shown("tables")),
        _said("quoted_by", "quoted by"),
        _said("table", "read in", printed=False),
        LINK,
        NOTE,
        Column("verdict", "verdict", lambda row: "published only", lambda row: "", left=True, printed=False),
    ]


def published_cost_columns() -> list[Column]:
    """List the columns of a table of published costs."""
    return [
        PUBLISHED_METHOD,
        _number("parameters_m", "parameters", help="millions"),
        _number("multiply_adds_g", "multiply-adds", help="10^9, as printed under the name GFLOPs"),
        _number("fps", "frames/s"),
        _said("device", "on", printed=False),
        _said("source"),
        LINK,
        NOTE,
    ]


# --- fields ---------------------------------------------------------------------------------------------------------


def _own(name: str) -> Callable[[Any, Any], Any]:
    return lambda _, row: getattr(row, name)


def _always(text: str) -> Callable[[Any, Any], str]:
    return lambda _, row: text


def _of_counterpart(name: str) -> Callable[[Any, Any], Any]:
    return lambda _, row: None if row.published is None else getattr(row.published, name)


def _end(place: int) -> Callable[[Any, Any], float | None]:
    return lambda _, row: None if row.interval is None else row.interval[place]


def _entry(attribute: str, key: str) -> Callable[[Any, Any], Any]:
    return lambda _, row: getattr(row, attribute).get(key)


def fields() -> list[Field]:
    """List the columns of the CSV files. Published values have fields apart from measured ones."""
    metrics = [metric.name for metric in shown("tables")]
    return [
        Field("dataset", lambda table, row: table.dataset, lambda board, row: board.name),
        Field("split", lambda table, row: table.split, _own("split")),
        Field("kind", lambda table, row: table.kind, _always("published"), _always("published")),
        Field("rank", _own("rank")),
        Field("method", _own("method"), _own("method"), _own("method")),
        Field("variant", _own("variant")),
        *(Field(name, _entry("card", name), _own(name) if name == "encoders" else None) for name in CARD_FIELDS),
        *(
            field
            for name in metrics
            for field in (Field(name, _entry("mean", name)), Field(f"{name}_sd", _entry("sd", name)))
        ),
        Field(f"{RANKED_BY}_low", _end(0)),
        Field(f"{RANKED_BY}_high", _end(1)),
        Field("permuted_oiou_ratio", _own("control")),
        Field("n_seeds", _own("n_seeds")),
        *(
            Field(f"published_{name}", _of_counterpart("value") if name == RANKED_BY else None, _entry("values", name))
            for name in metrics
        ),
        Field("published_protocol", _of_counterpart("protocol"), _own("protocol")),
        Field("published_protocol_miou", _of_counterpart("measured")),
        Field("published_difference", _of_counterpart("difference")),
        Field("verdict", _of_counterpart("verdict"), _always("published only")),
        Field("source", _of_counterpart("source"), _own("source"), _own("source")),
        Field("read_in", published=_own("table")),
        Field("quoted_by", _of_counterpart("quoted_by"), _own("quoted_by")),
        Field("link", published=_own("link"), cost=_own("link")),
        Field("note", published=_own("note"), cost=_own("note")),
        *(Field(name, _entry("efficiency", name)) for name in EFFICIENCY),
        Field("measured_on", _own("measured_on"), cost=_own("device")),
        *(Field(f"published_{name}", cost=_own(name)) for name in ("parameters_m", "multiply_adds_g", "fps")),
        Field("selected_on", _own("selected_on")),
        Field("runs", lambda _, row: " ".join(row.runs)),
    ]
