"""Scores as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrsis_bench.boards.render.cells import percent
from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.metrics.definitions import shown


def values(result: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Take from a result the scores that a terminal shows: protocol -> metric -> fraction, None where unknown."""
    return {
        protocol: {metric.name: block[metric.name]["value"] for metric in shown("terminal", protocol)}
        for protocol, block in result["metrics"].items()
    }


def scored_split(dataset: str, split: str, n_skipped: Mapping[str, int], rule: EmptyTruth = "skip") -> str:
    """Name the scored split, and how many of its samples are not scored, for each reason.

    Args:
        dataset: name of the data set.
        split: name of the split.
        n_skipped: reason -> number of samples, as a result's `n_skipped`.
        rule: the rule `empty_truth` of the data set.
    """
    scored = "not scored" if rule == "skip" else "scored by generalised protocols only"
    reasons = {
        "empty_truth": f"with an empty truth {scored}, empty_truth: {rule}",
        "leave_out": "left out, data.leave_out",
    }
    counted = [
        f"{count:,} sample{'' if count == 1 else 's'} {reasons[why]}" for why, count in n_skipped.items() if count
    ]
    return f"{dataset} {split} ({'; '.join(counted)})" if counted else f"{dataset} {split}"


def print_scores(title: str, scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print one row of percentages per protocol; a cell without a number is empty.

    Protocols with other metrics than `native-v1` have a table of their own.
    """
    from rich.table import Table

    from rrsis_bench import terminal

    tables: dict[tuple[str, ...], Table] = {}
    for protocol, row in scores.items():
        metrics = shown("terminal", protocol)
        heads = tuple(metric.title for metric in metrics)
        if heads not in tables:
            tables[heads] = Table(title=title, title_justify="left")
            tables[heads].add_column("protocol", no_wrap=True)
            for head in heads:
                tables[heads].add_column(head, justify="right")
        tables[heads].add_row(protocol, *(percent(row[metric.name]) for metric in metrics))
    for table in tables.values():
        terminal.show(table)
