"""Plots of a table: their data (pure, exact), and the data drawn, some by matplotlib (imported only to draw)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.boards.board import Board
from rrsis_bench.boards.render.charts import failures_svg, printable, reliability_svg, xml
from rrsis_bench.boards.render.colours import COLOURS, INK, PAPER, RULE
from rrsis_bench.boards.render.drawings import slot
from rrsis_bench.boards.render.views import KIND_TITLES
from rrsis_bench.boards.rows import Row, Table
from rrsis_bench.data.sizes import SIZE_NAMES
from rrsis_bench.errors import UserError
from rrsis_bench.results.breakdown import PARTS
from rrsis_bench.stats.failures import KINDS

DRAWING = 3
"""Raised when the way a plot is drawn changes, so that committed drawings are made again."""
BARS = 5
"""Methods in a bar plot or a reliability diagram; the HTML page compares any two."""
POINTS = 40
"""Methods in a plot of accuracy: more names could not be read."""
STACKS = 20
"""Methods whose kinds of predictions are drawn."""

_SIZE = (4.8, 3.3)  # inches: small, so that its words can still be read at phone width


def plots(board: Board) -> dict[str, dict[str, Any]]:
    """Collect the data of every plot of a board by file stem; empty where nothing was measured."""
    found: dict[str, dict[str, Any]] = {}
    for table in board.tables if board.layout == "scores" else ():
        stem = "-".join(dict.fromkeys((board.name, table.dataset, table.split, table.kind)))
        for what, data in (("accuracy", accuracy(table)), ("parts", parts(table))):
            if data is not None:
                found[f"{stem}-{what}"] = data
    for shown in board.beside:
        if shown.shows in _BESIDE:
            found["-".join((board.name, *dict.fromkeys(shown.key), shown.shows))] = _BESIDE[shown.shows](shown)
    return found


def room(data: Mapping[str, Any]) -> int:
    """The bytes that a plot's drawing has at most; those of matplotlib depend on its version, and are estimated."""
    if data["plot"] in ("accuracy", "parts"):
        return 25_000 + 1_500 * len(data.get("points", ()))
    return len(draw(data).encode("utf-8"))


def page(data: Mapping[str, Any]) -> str:
    """Write an SVG file that waits for its drawing."""
    return slot(data) + "\n"


def accuracy(table: Table) -> dict[str, Any] | None:
    """Collect a scatter of mIoU against trainable parameters; None if no row has both."""
    points = [
        {
            "label": row.name,
            "x": row.efficiency["trainable_parameters"],
            "y": row.mean["miou"],
            "interval": None if row.interval is None else list(row.interval),
        }
        for row in table.rows
        if row.efficiency["trainable_parameters"] is not None and row.mean["miou"] is not None
    ]
    title = f"{table.dataset}, {table.split} split, {KIND_TITLES[table.kind]}{_best(points, POINTS)}"
    points = points[:POINTS]
    return {"plot": "accuracy", "drawing": DRAWING, "title": title, "points": points} if points else None


def parts(table: Table) -> dict[str, Any] | None:
    """Collect bars of mIoU by category and by size of the best methods; None if nothing is broken down."""
    rows = [row for row in table.rows if any(row.parts[kind] for kind in row.parts)][:BARS]
    panels = [
        {
            "title": f"by {kind}",
            "names": names,
            "values": [[row.parts[kind].get(name) for name in names] for row in rows],
        }
        for kind in PARTS
        if (names := part_names(kind, rows))
    ]
    if not panels:
        return None
    title = f"{table.dataset}, {table.split} split{_best(table.rows, BARS)}"
    return {
        "plot": "parts", "drawing": DRAWING, "title": title, "labels": [row.name for row in rows], "panels": panels,
    }  # fmt: skip


def failures(table: BesideTable) -> dict[str, Any]:
    """Collect the kinds of predictions of the first methods of a table."""
    bars = [{"label": row["name"], "shares": {kind: row[kind] for kind in KINDS}} for row in table.rows[:STACKS]]
    return {"plot": "failures", "title": f"{table.caption}{_best(table.rows, STACKS)}", "bars": bars}


def reliability(table: BesideTable) -> dict[str, Any]:
    """Collect the reliability diagram of the best calibrated methods of a table."""
    curves = [
        {
            "label": row["name"],
            "ece": row["ece"],
            "points": [[float(probability), share] for probability, share in row["reliability"].items()],
        }
        for row in table.rows[:BARS]
    ]
    return {"plot": "reliability", "title": f"{table.caption}{_best(table.rows, BARS)}", "curves": curves}


_BESIDE: Mapping[str, Callable[[BesideTable], dict[str, Any]]] = {"failures": failures, "calibration": reliability}
"""Tables of plain values that have a plot."""


def _best(rows: Sequence[Any], most: int) -> str:
    """What a title says where only the first rows are drawn."""
    return f": the best {most}" if len(rows) > most else ""


def part_names(kind: str, rows: Sequence[Row]) -> list[str]:
    """List the parts that any row has, sizes from small to large, categories by name."""
    present = {name for row in rows for name in row.parts.get(kind, {})}
    known = [name for name in SIZE_NAMES if name in present] if kind == "size" else []
    return known + sorted(present - set(known))


def draw(data: Mapping[str, Any]) -> str:
    """Draw a plot as SVG, without declaration, date or random ids: the same library gives the same bytes.

    Raises:
        UserError: matplotlib is not installed.
    """
    if data["plot"] == "failures":
        return failures_svg(data["bars"])
    if data["plot"] == "reliability":
        return reliability_svg(data["curves"])
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "plots need matplotlib, which is not installed: pip install matplotlib, or leave out the formats that "
            "have plots: --format md csv json tex."
        ) from error
    settings: Any = {
        "svg.hashsalt": "rrsis_bench", "svg.fonttype": "none", "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"], "text.parse_math": False, "font.size": 8, "text.color": INK,
        "axes.labelcolor": INK, "axes.edgecolor": RULE, "xtick.color": RULE, "ytick.color": RULE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK, "grid.color": RULE, "grid.linewidth": 0.5, "axes.spines.top": False,
        "axes.spines.right": False, "axes.facecolor": PAPER, "figure.facecolor": PAPER, "axes.titlesize": 9,
        "axes.axisbelow": True,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_SIZE, dpi=72)
        (_draw_accuracy if data["plot"] == "accuracy" else _draw_parts)(figure, data)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", dpi=72, metadata=nothing, bbox_inches="tight", pad_inches=0.08)
    svg = re.sub(r"^.*?(?=<svg )", "", stream.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"[ \t]+(?=\n)", "", svg)
    return _named(printable(svg), data)


def _named(svg: str, data: Mapping[str, Any]) -> str:
    """Give the picture and its points names, for tooltips and for those who cannot see it."""
    kind = "mIoU against trainable parameters" if data["plot"] == "accuracy" else "mIoU by category and by size"
    label = xml(f"{kind}: {data['title']}")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    for number, point in enumerate(data.get("points", ())):
        words = xml(f"{point['label']}: mIoU {100 * point['y']:.2f}, {point['x'] / 1e6:,.2f} M trainable")
        svg = svg.replace(f'<g id="point-{number}">', f'<g id="point-{number}"><title>{words}</title>', 1)
    # Ids must be unique in a page that holds several plots.
    prefix = re.sub(r"\W+", "-", f"{data['plot']}-{data['title']}").strip("-").lower()
    svg = re.sub(r'(?<=\bid=")(?=[^"])', f"{prefix}-", svg)
    return re.sub(r'(?<=url\(#)|(?<=href="#)', f"{prefix}-", svg)


def _draw_accuracy(figure: Any, data: Mapping[str, Any]) -> None:
    axes = figure.add_subplot()
    points = data["points"]
    across = [point["x"] / 1e6 for point in points]
    up = [100 * point["y"] for point in points]
    positive = [x for x in across if x > 0]
    if positive and max(positive) > 10 * min(positive):
        axes.set_xscale(
            "symlog" if min(across) == 0 else "log", **({"linthresh": min(positive)} if min(across) == 0 else {})
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for number, point in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        if point["interval"]:
            axes.plot(
                [across[number]] * 2, [100 * end for end in point["interval"]], color=colour, linewidth=1, alpha=0.6
            )
        axes.plot(across[number], up[number], "o", color=colour, markersize=5, gid=f"point-{number}")
    axes.margins(x=0.18, y=0.12)
    axes.grid(True)
    axes.set_xlabel("trainable parameters, millions")
    axes.set_ylabel("mIoU, %")
    axes.set_title(data["title"], loc="left")
    _label(axes, list(zip(across, up, strict=True)), [point["label"] for point in points])


def _label(axes: Any, points: Sequence[tuple[float, float]], labels: Sequence[str]) -> None:
    """Write names beside the points, each at the first place around its point where it hides nothing."""
    axes.autoscale_view()  # limits are found when drawn, and the places hang on them
    placed = [(float(x), float(y)) for x, y in axes.transData.transform(points)]  # in points: the figure has 72 dpi
    taken: list[tuple[float, ...]] = [(x - 4, y - 4, x + 4, y + 4) for x, y in placed]
    frame = axes.bbox
    for point, (x, y), label in zip(points, placed, labels, strict=True):
        # Widths are estimated, not asked of a font: the places must not depend on which fonts a machine has.
        wide, high = 4.4 * len(label), 9.0
        around = [(7.0, -high / 2), (-7.0 - wide, -high / 2), (-wide / 2, 6.0), (-wide / 2, -6.0 - high)]
        around += [(dx, dy + step * high) for step in (1, -1, 2, -2, 3, -3) for dx, dy in around[:2]]
        boxes = [(x + dx, y + dy, x + dx + wide, y + dy + high) for dx, dy in around]
        inside = [box for box in boxes if box[0] >= frame.x0 and box[2] <= frame.x1 + 30]
        box = next((box for box in inside if not any(_overlap(box, other) for other in taken)), (inside or boxes)[0])
        taken.append(box)
        offset = (box[0] - x, (box[1] + box[3]) / 2 - y)
        axes.annotate(label, point, offset, textcoords="offset points", va="center", fontsize=7.5)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_parts(figure: Any, data: Mapping[str, Any]) -> None:
    panels, labels = data["panels"], data["labels"]
    rows = [max(len(panel["names"]), 1) for panel in panels]
    thick = 0.8 / len(labels)
    # Inches: the bars of a panel, the gap below it for its axis and the next one's title, the margins of the figure.
    bars, gap, above, below = sum(rows) * max(0.22, 0.09 * len(labels)), 0.5, 0.55, 0.45
    tall = bars + gap * (len(panels) - 1) + above + below
    figure.set_size_inches(_SIZE[0], tall)
    grid = figure.add_gridspec(
        len(panels), 1, height_ratios=rows, hspace=gap * len(panels) / bars, top=1 - above / tall, bottom=below / tall
    )
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(grid[place])
        for number, values in enumerate(panel["values"]):
            spots = [k + (number - (len(labels) - 1) / 2) * thick for k in range(len(values))]
            known = [(spot, 100 * value) for spot, value in zip(spots, values, strict=True) if value is not None]
            axes.barh(
                [spot for spot, _ in known],
                [value for _, value in known],
                height=thick * 0.9,
                color=COLOURS[number],
            )
        axes.set_yticks(range(len(panel["names"])), panel["names"])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_title(panel["title"], loc="left")
    axes.set_xlabel("mIoU, %")
    # Bars are named here, since matplotlib leaves names that begin with "_" out.
    figure.legend(
        axes.containers, labels, loc="lower left", bbox_to_anchor=(0.1, 1 - 0.3 / tall), ncols=2, frameon=False
    )
    lines = -(-len(labels) // 2)
    figure.suptitle(data["title"], x=0.12, y=1 + (0.17 * lines - 0.12) / tall, ha="left", va="bottom", fontsize=9)
