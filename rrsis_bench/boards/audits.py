"""The board of audits: which labels methods agree against, from the records that `data audit` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.errors import UserError
from rrsis_bench.results.audit import read_record

FOLDER = "audits"
"""Folder of the records, in the folder of results."""
MOST = 100
"""Candidates of an audit that the board lists, the clearest ones."""


def collect_audits(results: Path) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Read all records of audits under a folder of results.

    Returns:
        the sound ones by file name, and a sentence for each one that is left out.
    """
    found, warnings = [], []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            found.append(read_record(path))
        except UserError as error:
            warnings.append(str(error))
    return found, warnings


def audit_tables(records: Sequence[Mapping[str, Any]]) -> list[BesideTable]:
    """Make a table of all audits, and one of the clearest candidates of each.

    Args:
        records: from `collect_audits`.
    """
    if not records:
        return []
    rows = [
        {
            "dataset": record["dataset"],
            "split": record["split"],
            "methods": ", ".join(record["methods"]),
            "n_samples": record["n_samples"],
            "n_candidates": len(record["candidates"]),
            "share": len(record["candidates"]) / record["n_samples"],
        }
        for record in records
    ]
    tables = [BesideTable("audits", (), tuple(rows), (), "audits")]
    return [*tables, *(_candidates(record) for record in records if record["candidates"])]


def _candidates(record: Mapping[str, Any]) -> BesideTable:
    dataset, split, found = record["dataset"], record["split"], record["candidates"]
    rows = [{**one, "show": f"data show {dataset} --split {split} --index {one['index']}"} for one in found[:MOST]]
    remarks = [f"The {MOST} clearest of {len(found):,} candidates; the record holds all."] if len(found) > MOST else []
    caption = f"{dataset}, {split} split: candidates by {', '.join(record['methods'])}"
    return BesideTable(caption, (), tuple(rows), tuple(remarks), "candidates", (dataset, split))
