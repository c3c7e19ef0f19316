"""What the published variants cost on the GPU of this machine: `make bench-gpu`, or `python benchmarks/gpu.py`.

    python benchmarks/gpu.py [--methods lavt s4eca] [--variant NAME] [--ways float32 bf16] [--batches 1 8]

For each variant, training steps and scoring passes are timed in float32, under bf16 autocast, and compiled, at batches
1, 4, 8 and 16 until memory ends. Results go to `results/efficiency/<gpu>/<method>@<variant>.json`, beside the forecast
of each peak; the efficiency board shows them, and `forecast` takes its hours from them.

A step is the one of `fit --trainer gpu` on RRSIS-D: the network in channels-last with random weights, its losses, the
backward pass, and the recipe's optimiser. The batch is noise that lies on the device, so that no loader is measured.
Nothing within the measured steps waits for the device. Peaks are `torch.cuda.max_memory_allocated` of the measured
steps; on a CPU there are none.

A work and a way of a variant have a process of their own. A cell that fails, or whose process dies, is recorded with
its reason, and the others go on. A repeated call measures what is missing or failed; `--again` measures all anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rrsis_bench import __version__, config, registry
from rrsis_bench.cli.forecast import plan_of, step_of
from rrsis_bench.cost import measured
from rrsis_bench.engine import bench
from rrsis_bench.engine.device import pick_device
from rrsis_bench.engine.optim import OptimizerConfig
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import write_text
from rrsis_bench.methods.build import method_class
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve
from rrsis_bench.run.seal import text_of

DATASET = "rrsisd"
"""The forecast and the recipe are those of a run on this data set."""
BATCHES = (1, 4, 8, 16)
GOALS = {"step time": ("seconds", 0.60), "memory": ("memory_mb", 0.50)}
"""What S4ECA base is to cost at most in training, as a share of LAVT base."""


def resolved(method: str, variant: str) -> dict[str, Any]:
    """The configuration of `fit --trainer gpu` on RRSIS-D."""
    return dict(resolve(RunRequest(method, DATASET, variant, "gpu")).config)


# --- the process of a work and a way ---------------------------------------------------------------------------------


def child(job: Mapping[str, Any]) -> None:
    """Measure the cells that a file lacks, smallest batch first; each is written as soon as it is known.

    After a failure the process ends: an error of the device outlives the cell that caused it.
    """
    path, device, work, way = Path(job["path"]), torch.device(job["device"]), job["work"], job["way"]
    model, half = resolved(job["method"], job["variant"])["model"], way != "float32"
    optimizer = OptimizerConfig(**(model.get("optimizer") or {}))
    task: ReferringSegmentationTask | None = None

    def step(batch_size: int) -> Callable[[], None]:
        nonlocal task
        task = bench.build(model, device, way == "bf16-compiled") if task is None else task
        if work == "score":
            return bench.scoring_step(task, batch_size, device, half)
        return bench.training_step(task, optimizer, batch_size, device, half)

    for batch_size in job["batches"]:
        known = {key[2]: cell["state"] for key, cell in cells_of(path).items() if key[:2] == (work, way)}
        if batch_size in known:
            continue
        full = [size for size, state in known.items() if state == "out of memory" and size < batch_size]
        if full:
            found = {"state": "not run", "detail": f"the memory ended at batch {min(full)}"}
        else:
            found = bench.attempt(partial(step, batch_size), device, job["warmup"], job["steps"])
        if found["state"] == "measured":
            found |= {"steps": job["steps"], "samples_per_second": batch_size / found["seconds"]}
        put(job, work, way, batch_size, found)
        if found["state"] == "failed":
            return
        if task is not None:
            bench.free(task, device)


def forecast(job: Mapping[str, Any]) -> None:
    """Print the forecast peaks of each precision, and GFLOPs a sample, as JSON; without a forecast, why."""
    settings = resolved(job["method"], job["variant"])
    low, high = min(job["batches"]), max(*job["batches"], min(job["batches"]) + 1)
    peaks: dict[str, dict[str, float]] = {"train": {}, "score": {}}
    gflops: dict[str, float | None] = {"train": None, "score": None}
    try:
        for half in sorted({way != "float32" for way in job["ways"]}):
            plan = replace(plan_of(settings), half=half)
            costs = {size: step_of(settings, replace(plan, batch_size=size)) for size in (low, high)}
            for work, name in (("train", "training"), ("score", "scoring")):
                ends = [getattr(costs[size], f"{name}_bytes") / 2**20 for size in (low, high)]
                for size in job["batches"]:
                    peak = ends[0] + (ends[1] - ends[0]) * (size - low) / (high - low)
                    peaks[work][f"{'bf16' if half else 'float32'} {size}"] = peak
                gflops[work] = getattr(costs[low], f"{name}_flops") / low / 1e9 or None
    except UsageError as error:
        print(json.dumps({"peaks": {}, "gflops": gflops, "detail": str(error)}))
        return
    print(json.dumps({"peaks": peaks, "gflops": gflops, "detail": ""}))


def identify(job: Mapping[str, Any]) -> None:
    """Print what the device is, as JSON."""
    device = torch.device(job["device"])
    name, memory = "cpu", None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory / 2**30
    print(json.dumps({"device": name, "memory_gib": memory, "cuda": torch.version.cuda if memory else None}))


# --- files -----------------------------------------------------------------------------------------------------------


def cells_of(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Work, way and batch size -> cell of a file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {(cell["work"], cell["way"], cell["batch_size"]): cell for cell in content["cells"]}


def put(job: Mapping[str, Any], work: str, way: str, batch_size: int, found: Mapping[str, Any]) -> None:
    """Write a cell into the file of a job, with its forecast."""
    path = Path(job["path"])
    content, held = json.loads(path.read_text(encoding="utf-8")), cells_of(path)
    peak = job["peaks"].get(work, {}).get(f"{'float32' if way == 'float32' else 'bf16'} {batch_size}")
    figures = {**dict.fromkeys(measured.NUMBERS), "forecast_mb": peak, **found}
    held[work, way, batch_size] = {"work": work, "way": way, "batch_size": batch_size, **figures}
    order = sorted(held, key=lambda key: (measured.WORKS.index(key[0]), measured.WAYS.index(key[1]), key[2]))
    write_text(path, text_of({**content, "cells": [held[key] for key in order]}))


# --- all variants ----------------------------------------------------------------------------------------------------


def run(what: str, job: Mapping[str, Any], limit: float) -> tuple[str, str]:
    """Run a part of the work in a process of its own.

    Returns:
        what it printed, and why it did not end well ("" if it did).
    """
    command = [sys.executable, os.fspath(Path(__file__).resolve()), "--job", json.dumps({**job, "what": what})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return "", f"it ran past {limit:g} s"
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
    return (
        done.stdout,
        "" if done.returncode == 0 else f"its process ended with {done.returncode}: {bench.without_paths(last)}",
    )


def begin(args: argparse.Namespace, method: str, variant: str, device: Mapping[str, Any]) -> Path:
    """The file of a variant: the one that is there, without cells to measure again, or one without any cell."""
    path = measured.place(args.out, device["device"], method, variant)
    model = resolved(method, variant)["model"]
    settings = hashlib.sha256(json.dumps(model, sort_keys=True, default=str).encode()).hexdigest()
    memory = device["memory_gib"]
    head = {
        "schema": measured.SCHEMA_VERSION, "method": method, "variant": variant, **device,
        "card": None if memory is None else measured.card_of_device(device["device"], memory),
        "torch": torch.__version__, "package": __version__, "settings_sha256": settings,
    }  # fmt: skip
    cells: list[dict[str, Any]] = []
    gflops = {f"{work}_gflops": None for work in measured.WORKS}
    if path.is_file() and not args.again:
        try:
            held = measured.load(path).content
            changed = [name for name, value in head.items() if held[name] != value]
        except UserError as error:
            print(error, flush=True)
            held, changed = {}, ["content"]
        if changed:
            print(f"{path}: measured anew, because of another {', '.join(changed)}", flush=True)
        else:
            cells = [cell for cell in held["cells"] if cell["state"] in ("measured", "out of memory")]
            gflops = {name: held[name] for name in gflops}
    write_text(path, text_of({**head, **gflops, "cells": cells}))
    return path


def measure(args: argparse.Namespace, method: str, variant: str, device: Mapping[str, Any]) -> Path:
    """Measure what is missing of a variant."""
    path = begin(args, method, variant, device)
    with torch.device("meta"):
        network = method_class(method).from_options(config.variant_options(method, variant))
    trains = bool(trainable(network.parameters())) and not config.zero_shot(resolved(method, variant))
    sizes = sorted(set(args.batches))
    parts = [(work, way) for work in measured.WORKS if trains or work == "score" for way in args.ways]
    wanted = [(*part, size) for part in parts for size in sizes]
    job = {
        "path": os.fspath(path), "method": method, "variant": variant, "device": args.device, "ways": args.ways,
        "batches": sizes, "warmup": args.warmup, "steps": args.steps,
    }  # fmt: skip
    if all(key in cells_of(path) for key in wanted):
        return path
    said, problem = run("forecast", job, args.timeout)
    known = {"peaks": {}, "gflops": {}, "detail": problem} if problem else json.loads(said.splitlines()[-1])
    if known["detail"]:
        print(f"{method}@{variant}: no forecast: {known['detail']}", flush=True)
    job["peaks"] = known["peaks"]
    content = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, text_of({**content, **{f"{work}_gflops": one for work, one in known["gflops"].items()}}))
    for work, way in parts:
        while missing := [key for key in wanted if key[:2] == (work, way) and key not in cells_of(path)]:
            _, problem = run("measure", {**job, "work": work, "way": way}, args.timeout)
            # A process that died did so at the first cell that it did not write; else it ended after a failed cell.
            left = [key for key in missing if key not in cells_of(path)]
            if left and (problem or left == missing):
                put(job, *left[0], {"state": "failed", "detail": problem or "its process wrote nothing"})
    measured.load(path)
    return path


def line(content: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    """A line of the table."""
    figures = [
        "not measured" if value is None else f"{value:,.{digits}f}"
        for value, digits in ((cell["samples_per_second"], 2), (cell["memory_mb"], 0), (cell["forecast_mb"], 0))
    ]
    name = f"{content['method']} ({content['variant']})"
    state = "" if cell["state"] == "measured" else f"{cell['state']}: {cell['detail'][:80]}"
    return f"| {name} | {cell['work']} | {cell['way']} | {cell['batch_size']} | {' | '.join(figures)} | {state} |"


def goals(folder: Path, device: str) -> list[str]:
    """S4ECA base beside LAVT base, at every way and batch size that both have."""
    contents = {}
    for method in ("s4eca", "lavt"):
        path = measured.place(folder, device, method, "base")
        contents[method] = measured.load(path) if path.is_file() else None
    lines = []
    for name, (figure, goal) in GOALS.items():
        ratios = []
        for way in measured.WAYS if all(contents.values()) else ():
            ours, theirs = (one.cells("train", way) for one in contents.values() if one is not None)
            for size in sorted(ours.keys() & theirs.keys()):
                if ours[size][figure] is not None and theirs[size][figure] is not None:
                    ratios.append(f"{ours[size][figure] / theirs[size][figure]:.2f} ({way}, batch {size})")
        shown = ", ".join(ratios) or "not measured"
        lines.append(f"S4ECA base over LAVT base, {name} of training (goal: at most {goal:.2f}): {shown}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=sorted(registry.BUILT_IN), metavar="NAME", help="default: all")
    parser.add_argument("--variant", help="variant (default: each method's published one)")
    parser.add_argument("--ways", nargs="+", choices=measured.WAYS, default=list(measured.WAYS), help="default: all")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), help="default: 1 4 8 16")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu: times alone (default: cuda)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measured ones (default: 3)")
    parser.add_argument("--steps", type=int, default=20, help="measured steps (default: 20)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for a work and a way (default: 3600)")
    parser.add_argument("--out", type=Path, default=measured.folder_of(), help="default: results/efficiency")
    parser.add_argument("--again", action="store_true", help="measure all cells anew")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job = json.loads(args.job)
        {"measure": child, "forecast": forecast, "identify": identify}[job["what"]](job)
        return
    if min(*args.batches, args.warmup, args.steps) < 1:
        parser.error("--batches, --warmup and --steps must be at least 1.")
    try:
        args.device = str(pick_device(args.device))
    except UsageError as error:
        raise SystemExit(f"not measured: {error}") from error
    said, problem = run("identify", {"device": args.device}, args.timeout)
    if problem:
        raise SystemExit(f"not measured: {args.device}: {problem}")
    device = json.loads(said.splitlines()[-1])
    print(f"{device['device']}, torch {torch.__version__}\n")
    print("| method | work | way | batch | samples/s | peak MiB | forecast MiB | |\n|---|---|---|---|---|---|---|---|")
    for method in args.methods or sorted(registry.BUILT_IN):
        variant = args.variant or str(config.method_config(method)["published"])
        if variant not in config.method_config(method)["variants"]:
            print(f"| {method} ({variant}) | | | | | | | no such variant |", flush=True)
            continue
        content = measured.load(measure(args, method, variant, device)).content
        print("\n".join(line(content, cell) for cell in content["cells"]), flush=True)
    print("\n" + "\n".join(goals(args.out, device["device"])))


if __name__ == "__main__":
    main()
