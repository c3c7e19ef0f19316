"""Boards as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rrsis_bench.results.board import Board, Row, Table

KIND_TITLES = {
    "retrained": "retrained by this project",
    "official-weights": "the authors' own weights",
    "external": "predictions made elsewhere",
    "smoke": "smoke",
}
GENERATED = "<!-- Made by `rrsis-bench leaderboard`; edits are overwritten. -->"

LEGEND = (
    "Percent under `native-v1`. Mean over seeds, ± standard deviation where there is more than one. "
    "95 %: bootstrap interval of mIoU over images. Permuted: oIoU with permuted expressions over oIoU; "
    "near 1, a method does not read the text. Parameters in millions, latency at batch 1. An empty cell is not known."
)

HEADER = (
    "#", "method", "venue", "encoders", "fidelity", "mIoU", "95 %", "oIoU", "Pr@.5", "Pr@.7", "Pr@.9", "permuted",
    "seeds", "trainable", "total", "GFLOPs", "ms", "MB", "runs",
)  # fmt: skip
_LEFT = {"method", "venue", "encoders", "fidelity", "runs"}


def percent(value: float | None) -> str:
    """A fraction as percent with two decimals; empty for None."""
    return "" if value is None else f"{100 * value:.2f}"


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").replace("<", "&lt;").split())


def _measure(row: Row, name: str) -> str:
    sd = row.sd[name]
    return percent(row.mean[name]) + ("" if sd is None else f" ± {percent(sd)}")


def _number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    return "" if value is None else f"{value * scale:.{digits}f}"


def _cells(row: Row, link: str) -> list[str]:
    interval = row.interval["miou"]
    costs = row.efficiency
    venue = " ".join(part for part in (row.card["venue"], row.card["year"]) if part)
    return [
        "" if row.rank is None else str(row.rank),
        f"{_cell(row.card['title'] or row.method)} ({_cell(row.variant)})",
        _cell(venue),
        _cell(row.card["encoders"]),
        _cell(row.card["fidelity"]),
        _measure(row, "miou"),
        "" if interval is None else f"{percent(interval[0])} – {percent(interval[1])}",
        *(_measure(row, name) for name in ("oiou", "pr50", "pr70", "pr90")),
        _number(row.control, digits=2),
        str(row.n_seeds),
        _number(costs["trainable_parameters"], 1e-6, 2),
        _number(costs["parameters"], 1e-6, 2),
        _number(costs["gflops"], digits=2),
        _number(costs["latency_ms"]),
        _number(costs["memory_mb"], digits=0),
        " ".join(f"[{folder.rpartition('/')[2]}]({link}{folder})" for folder in row.runs),
    ]


def table(content: Table, link: str) -> str:
    """One table with its caption; `link` leads from the page to the results folder. Columns without values go."""
    body = [_cells(row, link) for row in content.rows]
    kept = [i for i in range(len(HEADER)) if any(cells[i] for cells in body)]
    lines = [[HEADER[i] for i in kept], [":---" if HEADER[i] in _LEFT else "---:" for i in kept]]
    lines += [[cells[i] for i in kept] for cells in body]
    samples = " or ".join(f"{count:,}" for count in content.n_samples)
    caption = f"**{content.dataset}, {content.split} split, {KIND_TITLES[content.kind]}** ({samples} samples)"
    parts = [caption, "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    if len(content.contents) > 1 or len(content.n_samples) > 1:
        parts.append(
            "These rows were scored on different versions of the data and cannot be compared with one another."
        )
    on_test = [row for row in content.rows if row.selected_on == content.split]
    if on_test:
        named = ", ".join(f"{_cell(row.card['title'] or row.method)} ({_cell(row.variant)})" for row in on_test)
        parts.append(f"Checkpoint chosen on the very split that is scored: {named}.")
    return "\n\n".join(parts)


def section(board: Board, link: str) -> str:
    """A board's notice and tables, without its title."""
    parts = [f"> {board.notice}"] if board.notice else []
    parts += [table(content, link) for content in board.tables] or ["No results yet."]
    return "\n\n".join([*parts, LEGEND] if board.tables else parts)


def page(board: Board) -> str:
    """The board's own page, for the folder `leaderboard/`."""
    return f"{GENERATED}\n\n# {board.title}\n\n{section(board, '../')}\n"


def index(boards: Sequence[Board]) -> str:
    """The page that lists the boards."""
    lines = ["| board | tables | rows |", "|:---|---:|---:|"]
    for board in boards:
        rows = sum(len(content.rows) for content in board.tables)
        lines.append(f"| [{board.title}]({board.name}.md) | {len(board.tables)} | {rows} |")
    text = "Made from the result files by `rrsis-bench leaderboard`. Each board is there as Markdown, CSV and JSON."
    return f"{GENERATED}\n\n# Leaderboards\n\n{text}\n\n" + "\n".join(lines) + "\n"
