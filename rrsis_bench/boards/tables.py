"""Scores as a terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rrsis_bench.metrics.definitions import shown


def values(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The scores of a result that a terminal shows: protocol -> metric -> fraction, None where there is no number."""
    names = [metric.name for metric in shown("terminal")]
    return {protocol: {name: block[name]["value"] for name in names} for protocol, block in result["metrics"].items()}


def print_scores(title: str, scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """One row of percentages per protocol; empty where there is no number."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("protocol")
    metrics = shown("terminal")
    for metric in metrics:
        table.add_column(metric.title, justify="right")
    for protocol, row in scores.items():
        table.add_row(protocol, *(_percent(row[metric.name]) for metric in metrics))
    Console(width=None if Console().is_terminal else 110).print(table)


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.2f}"
