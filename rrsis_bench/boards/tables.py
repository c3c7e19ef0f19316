"""Scores as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN = ("miou", "oiou", "pr50", "pr60", "pr70", "pr80", "pr90")
TITLES = {"miou": "mIoU", "oiou": "oIoU"} | {f"pr{x}": f"Pr@.{x // 10}" for x in range(50, 100, 10)}


def values(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The shown metrics of a result: protocol -> metric -> fraction."""
    return {protocol: {name: block[name]["value"] for name in SHOWN} for protocol, block in result["metrics"].items()}


def print_scores(title: str, scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """One row of percentages per protocol; empty where there is no number."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("protocol")
    for name in SHOWN:
        table.add_column(TITLES[name], justify="right")
    for protocol, row in scores.items():
        table.add_row(protocol, *("" if row[name] is None else f"{100 * (row[name] or 0):.2f}" for name in SHOWN))
    Console(width=None if Console().is_terminal else 110).print(table)
