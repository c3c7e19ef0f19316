"""Scores as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.metrics.definitions import shown


def values(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Take from a result the scores that a terminal shows: protocol -> metric -> fraction, None where unknown."""
    names = [metric.name for metric in shown("terminal")]
    return {protocol: {name: block[name]["value"] for name in names} for protocol, block in result["metrics"].items()}


def scored_split(dataset: str, split: str, n_skipped: Mapping[str, int]) -> str:
    """Name the scored split, and how many of its samples are not scored, for each reason."""
    reasons = {
        "empty_truth": "with an empty truth not scored, empty_truth: skip",
        "leave_out": "left out, data.leave_out",
    }
    counted = [
        f"{count:,} sample{'' if count == 1 else 's'} {reasons[why]}" for why, count in n_skipped.items() if count
    ]
    return f"{dataset} {split} ({'; '.join(counted)})" if counted else f"{dataset} {split}"


def print_scores(title: str, scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print one row of percentages per protocol; a cell without a number is empty."""
    from rich.table import Table

    from rrsis_bench import terminal

    table = Table(title=title, title_justify="left")
    table.add_column("protocol", no_wrap=True)
    metrics = shown("terminal")
    for metric in metrics:
        table.add_column(metric.title, justify="right")
    for protocol, row in scores.items():
        table.add_row(protocol, *(percent(row[metric.name]) for metric in metrics))
    terminal.show(table)
