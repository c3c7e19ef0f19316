"""The tables of `generalised-v1`: expressions that fit nothing, one object or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rrsis_bench.boards.beside import BesideTable, caption_of
from rrsis_bench.boards.entries import Entry, by_method, by_split, ordinary
from rrsis_bench.boards.rows import card_of, over_seeds
from rrsis_bench.metrics.definitions import metrics_of
from rrsis_bench.metrics.protocols import GENERALISED
from rrsis_bench.stats.ranks import rank_groups

RANKED_BY = "giou"
"""Metric that orders and ranks the rows."""


def generalised_tables(runs: Sequence[Entry]) -> list[BesideTable]:
    """Make a table for each data set, kind and split with samples that mean "nothing fits".

    Args:
        runs: all results.
    """
    known = [run for run in ordinary(runs) if run.generalised is not None]
    return [_table(key, members) for key, members in by_split(known).items()]


def _table(key: tuple[str, str, str], members: Sequence[Entry]) -> BesideTable:
    groups = by_method(members)
    placed = rank_groups(
        {name: [run.generalised for run in group if run.generalised] for name, group in groups.items()}, RANKED_BY
    )
    rows = []
    for name, group in groups.items():
        blocks = [run.result["metrics"][GENERALISED] for run in group]
        scores = {
            metric: over_seeds([block[metric]["value"] for block in blocks]) for metric in metrics_of(GENERALISED)
        }
        interval = placed[name].interval
        rows.append(
            {
                "rank": placed[name].rank,
                **card_of(group[0].result["method"]),
                "scores": {metric: mean for metric, (mean, _) in scores.items()},
                "sd": {metric: sd for metric, (_, sd) in scores.items()},
                "interval": None if interval is None else list(interval),
                "n_seeds": len(group),
                "runs": [run.folder for run in group],
            }
        )
    rows.sort(key=_order)
    return BesideTable(caption_of(key, members, GENERALISED), (), tuple(rows), (), "generalised", key)


def _order(row: dict[str, Any]) -> tuple[bool, float, str, str]:
    score = row["scores"][RANKED_BY]
    return score is None, -(score or 0.0), row["method"], row["variant"]
