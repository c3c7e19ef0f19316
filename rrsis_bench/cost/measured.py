"""What `make bench-gpu` measured: `results/efficiency/<gpu>/<method>@<variant>.json`. No torch.

A file holds the settings of its measurements, and a cell for each work (`train`, `score`), way and batch size. A cell
that could not be measured says why. Nothing that a GPU alone can measure is a number in a file of a CPU.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrsis_bench.cost.cards import CARDS, Card
from rrsis_bench.errors import UserError
from rrsis_bench.paths import PACKAGE
from rrsis_bench.run import seal

FOLDER = "efficiency"
SCHEMA_VERSION = 1
WORKS = ("train", "score")
WAYS = ("float32", "bf16", "bf16-compiled")
"""How forward passes run: in float32 by torch's defaults, under bf16 autocast, and so compiled by `torch.compile`."""

STATES = ("measured", "out of memory", "failed", "not run")
NUMBERS = (
    "samples_per_second", "seconds", "memory_mb", "reserved_mb", "forecast_mb", "first_seconds", "steps",
)  # fmt: skip
"""A cell's figures; None if unknown.

Samples per second, median seconds of a step, peak MiB of tensors and of the allocator, peak MiB of tensors by forecast,
seconds until the first step ended, and number of measured steps.
"""

TEXTS = ("method", "variant", "device", "torch", "package", "settings_sha256")
_CELL = {"work", "way", "batch_size", "state", "detail", *NUMBERS}
_BLOCKS = {"schema", "sha256", "card", "cuda", "memory_gib", "train_gflops", "score_gflops", "cells", *TEXTS}


@dataclass(frozen=True)
class Measured:
    """The file of a variant on a device.

    Attributes:
        path: the file.
        content: its values.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def label(self) -> str:
        """`<method>@<variant>`."""
        return f"{self.content['method']}@{self.content['variant']}"

    def cells(self, work: str, way: str) -> dict[int, Mapping[str, Any]]:
        """Batch size -> cell of a work and a way."""
        return {
            cell["batch_size"]: cell for cell in self.content["cells"] if (cell["work"], cell["way"]) == (work, way)
        }


def slug(device: str) -> str:
    """The folder's name of a device: `NVIDIA H200` has `nvidia-h200`."""
    return re.sub(r"[^a-z0-9.]+", "-", device.lower()).strip("-.") or "device"


def card_of_device(device: str, memory_gib: float) -> str | None:
    """The name in `CARDS` of a device; None for a device that is no whole card of the table.

    Args:
        device: name of the device, as torch says it.
        memory_gib: its memory in GiB.
    """
    for name, card in CARDS.items():
        if card.pattern and re.fullmatch(card.pattern, device) and 0 <= memory_gib - card.memory_gib < 2:
            return name
    return None


def place(folder: Path, device: str, method: str, variant: str) -> Path:
    """The file of a variant on a device below the folder `efficiency`."""
    return folder / slug(device) / f"{method}@{variant}.json"


def folder_of(results: Path | None = None) -> Path:
    """The folder `efficiency` of a folder of results; without one, that of the repository or of the installed suite."""
    if results is not None:
        return results / FOLDER
    beside = PACKAGE.parent / "results" / FOLDER
    return beside if beside.is_dir() else PACKAGE / f"_{FOLDER}"


def find(folder: Path) -> list[Path]:
    """The files below a folder `efficiency`; none if there is no such folder."""
    return sorted(folder.glob("*/*.json"))


def load(path: Path) -> Measured:
    """Read a file and check it.

    Raises:
        UserError: the file cannot be read, was edited by hand, lies in another place than its values say, or states
            something that cannot have been measured.
    """
    remedy = "Measure it again: python benchmarks/gpu.py"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stated = content["sha256"]
        whole = seal.sealed(content)["sha256"] == stated
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error}). {remedy}") from error
    if not whole:
        raise UserError(f"{path} does not match its checksum: it was edited by hand or damaged. {remedy}")
    if wrong := _wrong(path, content):
        raise UserError(f"{path}: {wrong}. {remedy}")
    return Measured(path, content)


def read(folder: Path) -> tuple[list[Measured], list[str]]:
    """Read all files below a folder `efficiency`.

    Returns:
        the sound files, and a sentence for each of the others.
    """
    found, problems = [], []
    for path in find(folder):
        try:
            found.append(load(path))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def _wrong(path: Path, content: Mapping[str, Any]) -> str:
    """What a file states that cannot be; "" if nothing."""
    if content.get("schema") != SCHEMA_VERSION or content.keys() != _BLOCKS:
        return f"it is no file of version {SCHEMA_VERSION} of these measurements"
    if not all(isinstance(content[name], str) and content[name] for name in TEXTS):
        return f"one of {', '.join(TEXTS)} is no text"
    expected = place(Path(), content["device"], content["method"], content["variant"])
    if path.parts[-2:] != expected.parts[-2:]:
        return f"it belongs to {expected}"
    memory = content["memory_gib"]
    if not _is_figure(memory):
        return "its memory_gib is no positive number"
    if content["card"] != (None if memory is None else card_of_device(content["device"], memory)):
        return "its card is not the one of its device"
    if not all(_is_figure(content[f"{work}_gflops"]) for work in WORKS):
        return "its GFLOPs are no positive numbers"
    if not isinstance(content["cells"], list):
        return "its cells are no list"
    seen = set()
    for cell in content["cells"]:
        if not isinstance(cell, dict) or cell.keys() != _CELL:
            return "a cell has other values than those of the format"
        key = (cell["work"], cell["way"], cell["batch_size"])
        if key in seen or cell["work"] not in WORKS or cell["way"] not in WAYS or type(key[2]) is not int or key[2] < 1:
            return f"its cell {key} is unknown or is there twice"
        seen.add(key)
        if reason := _wrong_cell(cell, memory is not None):
            return f"its cell {key} {reason}"
    return ""


def _wrong_cell(cell: Mapping[str, Any], cuda: bool) -> str:
    if cell["state"] not in STATES or not isinstance(cell["detail"], str):
        return "has an unknown state"
    if not all(_is_figure(cell[name]) for name in NUMBERS):
        return "holds a figure that is no positive number"
    done = cell["state"] == "measured"
    if any((cell[name] is not None) != done for name in ("samples_per_second", "seconds", "steps")):
        return "has a rate that its state does not allow, or lacks one"
    if any((cell[name] is not None) != (done and cuda) for name in ("memory_mb", "reserved_mb")):
        return "has a peak that its state or its device does not allow, or lacks one"
    if done and not math.isclose(cell["samples_per_second"] * cell["seconds"], cell["batch_size"], rel_tol=1e-6):
        return "has a rate that is not its batch size over its seconds"
    return "" if done or cell["detail"] else "does not say why it was not measured"


def _is_figure(value: Any) -> bool:
    """Whether a value is None or a positive number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value > 0)


def utilisation(
    card: Card, half: bool, label: str, batch_size: int, files: Iterable[Measured]
) -> tuple[float, float] | None:
    """The share of a card's peak that measured training steps reached.

    Args:
        card: the card.
        half: whether forward passes run in half precision.
        label: `<method>@<variant>` of the run.
        batch_size: its samples per forward pass.
        files: what was measured.

    Returns:
        lowest and highest share: of the variant itself at the batch size if that was measured, else of every variant at
        its fastest batch size; None if no step was measured on the card.
    """
    peak, way = 1e12 * (card.half if half else card.float32), "bf16" if half else "float32"
    shares: dict[str, dict[int, float]] = {}
    for one in files:
        flops = one.content["train_gflops"]
        if flops is None or CARDS.get(one.content["card"]) is not card:
            continue
        rates = {size: cell["samples_per_second"] for size, cell in one.cells("train", way).items()}
        known = {size: 1e9 * flops * rate / peak for size, rate in rates.items() if rate is not None}
        if known:
            shares[one.label] = known
    own = shares.get(label, {}).get(batch_size)
    if own is not None:
        return own, own
    best = [max(known.values()) for known in shares.values()]
    return (min(best), max(best)) if best else None


def near(cells: Sequence[Mapping[str, Any]]) -> list[float]:
    """Forecast peak over measured peak, less 1, of each cell that has both."""
    return [
        cell["forecast_mb"] / cell["memory_mb"] - 1
        for cell in cells
        if cell["forecast_mb"] is not None and cell["memory_mb"] is not None
    ]
