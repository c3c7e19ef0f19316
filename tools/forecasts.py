"""Forecasts all cells of the ready sweeps, and writes them where people look: `python -m tools.forecasts`.

`docs/forecasts.json` holds what was computed: a cell's plan, the cost of a step, and the bytes of a sample. The line of
each method's README and the header of each sweep are made of it, without computing anew. `--all` computes all cells
again, and `--none` none; without either, only those that the file lacks.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rrsis_bench import registry
from rrsis_bench.cli.forecast import cost_of, plan_of
from rrsis_bench.cost import measured
from rrsis_bench.cost.cards import CARDS
from rrsis_bench.cost.forecast import GIB, OnCard, Plan, on_card
from rrsis_bench.cost.memory import StepCost
from rrsis_bench.errors import UsageError
from rrsis_bench.files import write_text
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.grid import read_sweep

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "docs" / "forecasts.json"
SWEEPS = ("lite", "rrsisd", "refsegrs", "risbench", "released", "zero-shot")
SHOWN = {"lite": ("4060", "t4")}
"""Cards of a sweep's header; `USUAL` for the others."""
USUAL = ("h100", "4090")
DATASET = "rrsisd"
"""A README's line is of a run on this data set."""
MADE = "# Made by `python -m tools.forecasts`."
"""Last line of the block that this tool writes into a sweep."""
BEGIN, END = "<!-- forecast -->", "<!-- /forecast -->"


class Stored:
    """What the file holds, by `<dataset>/<method>@<variant>`."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self._computed: dict[str, tuple[StepCost, float] | None] = {}
        if STORED.is_file():
            self.entries = json.loads(STORED.read_text(encoding="utf-8"))

    def add(self, cell: Cell) -> None:
        """Compute a cell's forecast and write the file."""
        plan = planned(cell)
        model = {key: value for key, value in cell.config["model"].items() if key not in {"schedule", "select_by"}}
        # Data sets differ in the number of samples; a step that costs the same is run once.
        same = json.dumps([model, replace(plan, samples={}, epochs=0).__dict__], sort_keys=True, default=str)
        if same not in self._computed:
            # In a process of its own: libraries keep tensors of one network, which another's fake tensors do not fit.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                self._computed[same] = pool.submit(computed, cell.config, plan).result()
        found = self._computed[same]
        step, sample = (None, None) if found is None else (asdict(found[0]), found[1])
        self.entries[key_of(cell)] = {"plan": asdict(plan), "step": step, "sample_bytes": sample}
        write_text(STORED, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")

    def of(self, key: str) -> tuple[Plan, StepCost, float] | None:
        """A cell's plan, the cost of its step, and the bytes of a sample.

        Returns:
            None if the file lacks the cell, or its step cannot be forecast: values of tensors decide what it computes.
        """
        entry = self.entries.get(key)
        if entry is None or entry["step"] is None:
            return None
        return Plan(**entry["plan"]), StepCost(**entry["step"]), float(entry["sample_bytes"])


def computed(config: Mapping[str, Any], plan: Plan) -> tuple[StepCost, float] | None:
    """What `cost_of` returns; None if the step cannot be forecast."""
    try:
        return cost_of(config, plan)
    except UsageError:
        return None


def key_of(cell: Cell) -> str:
    """A cell's name without its seed."""
    return cell.name.rpartition("/")[0]


def planned(cell: Cell) -> Plan:
    """How a cell trains; a test of released weights has no epoch."""
    plan = plan_of(cell.config)
    return replace(plan, epochs=0) if cell.verb == "test" else plan


def cells() -> list[Cell]:
    """The cells of the ready sweeps, one of each key."""
    every = [cell for name in SWEEPS for cell in read_sweep(str(ROOT / "configs" / "sweeps" / f"{name}.yaml")).cells]
    return list({key_of(cell): cell for cell in every}.values())


def forecast_on(name: str, label: str, plan: Plan, cost: StepCost, sample: float) -> OnCard:
    """The forecast of `<method>@<variant>` on a card, by the share of its peak that was measured, if any was."""
    share = measured.utilisation(CARDS[name], plan.half, label, plan.batch_size, measured.read(measured.folder_of())[0])
    return on_card(CARDS[name], plan, cost, sample, share)


def span(hours: tuple[float, float]) -> str:
    """Hours in words; minutes if they are less than one hour."""
    scale, unit = (60, "min") if hours[1] < 1 else (1, "h")
    low, high = (f"{value * scale:,.0f}" if value * scale >= 10 else f"{value * scale:.1f}" for value in hours)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def readme_line(stored: Stored, keys: Iterable[str]) -> str:
    """The forecast of a README: a sentence for each of the method's registry names."""
    lines = []
    for key in keys:
        known = stored.of(key)
        dataset, _, label = key.partition("/")
        method, _, variant = label.partition("@")
        if known is None:
            lines.append(f"**No forecast**: the values of tensors decide what a step of {variant} computes.")
            continue
        plan, cost, sample = known
        parts = []
        for name in USUAL:
            found = forecast_on(name, label, plan, cost, sample)
            room = "" if found.fits else f" (at most {found.largest_batch} samples fit, not {plan.batch_size})"
            parts.append(f"{span(found.hours)} on one {CARDS[name].title}{room}")
        command = f"rrsis-bench forecast --method {method} --dataset {dataset}"
        lines.append(
            f"**Forecast, not measured** (`{command}`): {plan.epochs} epochs of {variant} in "
            f"{'bf16' if plan.half else 'float32'} hold {cost.training_bytes / GIB:.1f} GiB of tensors at batch "
            f"{plan.batch_size} and take {' or '.join(parts)}."
        )
    return "\n\n".join(lines)


def header(stored: Stored, sweep: str) -> str:
    """The forecast of a sweep, as comment lines of its file."""
    every = read_sweep(str(ROOT / "configs" / "sweeps" / f"{sweep}.yaml")).cells
    loaded = [(cell, *known) for cell in every if (known := stored.of(key_of(cell))) is not None]
    lacking = sorted({cell.method for cell in every if stored.of(key_of(cell)) is None})
    without = f", without {len(every) - len(loaded)} of {', '.join(lacking)}" if lacking else ""
    lines = wrapped(f"Forecast, not measured: {len(every)} cells{without}.", "# ")
    if not loaded:
        return "\n".join([*lines, MADE])
    for name in SHOWN.get(sweep, USUAL):
        found = [
            (cell, forecast_on(name, f"{cell.method}@{cell.variant}", plan, cost, sample), plan)
            for cell, plan, cost, sample in loaded
        ]
        hours = (sum(one.hours[0] for _, one, _ in found), sum(one.hours[1] for _, one, _ in found))
        tight = sorted({cell.method for cell, one, plan in found if not one.fits and plan.epochs})
        note = f"; the batch does not fit for {', '.join(tight)}" if tight else ""
        lines += wrapped(f"{CARDS[name].title}: {span(hours)} in all{note}")
    cell, plan, cost, _ = max(loaded, key=lambda one: peak(one[1], one[2]))
    doing = f"training at batch {plan.batch_size}" if plan.epochs else f"scoring {plan.eval_batch_size} at a time"
    lines += wrapped(f"most memory: {peak(plan, cost) / GIB:.1f} GiB of tensors ({key_of(cell)}, {doing})")
    return "\n".join([*lines, MADE])


def peak(plan: Plan, cost: StepCost) -> int:
    """Bytes of tensors at the peak of what a cell does."""
    return cost.training_bytes if plan.epochs else cost.scoring_bytes


def wrapped(text: str, begin: str = "#   ") -> list[str]:
    """A sentence as comment lines of at most 118 columns."""
    lines, line = [], begin
    for word in text.split():
        if len(line) + len(word) > 117:
            lines.append(line.rstrip())
            line = "#     "
        line += f"{word} "
    return [*lines, line.rstrip()]


def readme_of(method: str) -> Path:
    """The README of a method; several methods of one folder share that folder's."""
    folder = registry.method_folder(method)
    return next(path for path in (folder / "README.md", folder.parent / "README.md") if path.is_file())


def readmes(stored: Stored) -> Mapping[Path, list[str]]:
    """README of a method -> the keys whose forecast it states."""
    found: dict[Path, list[str]] = {}
    for cell in read_sweep(str(ROOT / "configs" / "sweeps" / f"{DATASET}.yaml")).cells:
        path = readme_of(cell.method)
        if key_of(cell) in stored.entries and key_of(cell) not in found.setdefault(path, []):
            found[path].append(key_of(cell))
    return found


def with_readme_line(text: str, line: str) -> str:
    """A README's text with its forecast; the first time, it goes behind the first block of commands."""
    block = f"{BEGIN}\n{line}\n{END}"
    if BEGIN in text:
        return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    first = re.search(r"^```.*?^```\n", text, flags=re.DOTALL | re.MULTILINE)
    if first is None:
        return f"{text.rstrip()}\n\n{block}\n"
    return f"{text[: first.end()]}\n{block}\n{text[first.end() :]}"


def with_header(text: str, lines: str) -> str:
    """A sweep's file with its forecast, behind its own comment."""
    old = re.compile(rf"^# Forecast, not measured:.*?^{re.escape(MADE)}\n", re.DOTALL | re.MULTILINE)
    kept = old.sub("", text)
    own = re.match(r"(#.*\n)*", kept)
    end = own.end() if own else 0
    return f"{kept[:end]}{lines}\n{kept[end:]}"


def main() -> None:
    """Compute what is missing, then write READMEs and sweeps."""
    parser = argparse.ArgumentParser(prog="python -m tools.forecasts", description=__doc__)
    parser.add_argument("--all", action="store_true", help="compute all cells again")
    parser.add_argument("--none", action="store_true", help="compute nothing; write what the file holds")
    args = parser.parse_args()
    stored, wanted = Stored(), cells()
    keys = {key_of(cell) for cell in wanted}
    stored.entries = {key: value for key, value in stored.entries.items() if key in keys and not args.all}
    for cell in wanted:
        if key_of(cell) not in stored.entries and not args.none:
            print(key_of(cell), flush=True)
            stored.add(cell)
    for path, names in readmes(stored).items():
        text = path.read_text(encoding="utf-8")
        write_text(path, with_readme_line(text, readme_line(stored, names)))
    for name in SWEEPS:
        path = ROOT / "configs" / "sweeps" / f"{name}.yaml"
        write_text(path, with_header(path.read_text(encoding="utf-8"), header(stored, name)))


if __name__ == "__main__":
    main()
