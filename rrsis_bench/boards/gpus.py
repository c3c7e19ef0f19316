"""Tables of the efficiency board: what was measured on GPUs (`make bench-gpu`), beside the forecast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rrsis_bench import registry
from rrsis_bench.boards.beside import BesideTable
from rrsis_bench.boards.rows import card_of
from rrsis_bench.cost.measured import WORKS, Measured, near


def gpu_tables(files: Iterable[Measured]) -> list[BesideTable]:
    """Make a table for each GPU and version of torch: a row for each variant, way and batch size.

    Args:
        files: what was measured. Files of a CPU are left out: a CPU's time says nothing of a GPU, and it has no peak.
    """
    groups: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for one in files:
        if one.content["memory_gib"] is not None:
            groups[one.content["device"], one.content["torch"]].append(one)
    return [
        BesideTable(f"{device}, torch {torch}", (), tuple(_rows(members)), _remarks(members), "gpus")
        for (device, torch), members in sorted(groups.items())
    ]


def _rows(files: Iterable[Measured]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for one in sorted(files, key=lambda one: one.label):
        content, targets = one.content, registry.method_targets()
        named = {"name": content["method"], "variant": content["variant"], "target": targets.get(content["method"])}
        cells = {(cell["way"], cell["batch_size"], cell["work"]): cell for cell in content["cells"]}
        # Cells of one way stand together, in the order of the file.
        for way, size in dict.fromkeys(key[:2] for key in cells):
            row: dict[str, Any] = {**card_of(named), "gpu": content["device"], "way": way, "batch_size": size}
            notes = []
            for work in WORKS:
                cell = cells.get((way, size, work), {})
                row |= {f"{work}_{name}": cell.get(name) for name in ("samples_per_second", "memory_mb", "forecast_mb")}
                notes += [f"{work}: {cell['state']}"] if cell and cell["state"] != "measured" else []
            rows.append({**row, "note": "; ".join(notes)})
    return rows


def _remarks(files: Iterable[Measured]) -> tuple[str, ...]:
    """Say how near the forecast peaks are to the measured ones."""
    ratios = near([cell for one in files for cell in one.content["cells"]])
    if not ratios:
        return ()
    close = sum(abs(ratio) <= 0.15 for ratio in ratios)
    return (f"The forecast peak lies within 15 % of the measured one in {close} of {len(ratios)} cells.",)
