"""A sweep's file: methods x data sets x variants x seeds, and named cells. No torch.

`configs/sweeps/README.md` documents the keys of the file.

A named cell has the variant `<variant>+<name>`, so that its runs and rows differ from the method's own. It takes data
sets, seeds, trainer, protocol, recipe, flags and perturb from the sweep unless it states its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrsis_bench import config, registry
from rrsis_bench.config import Config
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import shown
from rrsis_bench.paths import runs_root
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve
from rrsis_bench.sweep.cell import Cell

_CHOICES = ("trainer", "protocol", "recipe")
_KEYS = (
    "methods",
    "datasets",
    "seeds",
    "variants",
    "weights",
    *_CHOICES,
    "flags",
    "cells",
    "slurm",
    "detail",
    "perturb",
)
_CELL_KEYS = ("method", "dataset", "datasets", "variant", "seeds", *_CHOICES, "flags", "perturb")
_GROUPS = ("model", "data", "trainer", "checkpoint_every_n_steps")


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep's file.

    Attributes:
        name: name of the file without its ending.
        path: the file.
        runs: folder that holds the run folders.
        cells: all cells, in the order of the file.
        slurm: submitit's parameters.
    """

    name: str
    path: Path
    runs: Path
    cells: tuple[Cell, ...]
    slurm: Mapping[str, Any] = field(default_factory=dict)


def read_sweep(name: str, runs: Path | None = None) -> Sweep:
    """Read a sweep's file.

    Args:
        name: name of a file in `configs/sweeps/`, such as `tiny`, or a path, such as `my/sweep.yaml`.
        runs: folder for the runs; None for `RRSIS_RUNS`.

    Raises:
        UsageError: the file does not exist, or holds an unknown key or name, or a value of the wrong type.
    """
    path = Path(name)
    if not (path.is_file() or path.suffix in {".yaml", ".yml"} or len(path.parts) > 1):
        path = config.find("sweeps", name)
    if runs is not None and runs.exists() and not runs.is_dir():
        raise UsageError(f"--runs {runs} is a file, not a folder.")
    if not path.is_file():
        raise UsageError(f"there is no sweep {path}.{did_you_mean(path.stem, config.names('sweeps'))}")
    loaded = config.load_yaml(path)
    reader = _Reader(path, loaded, runs)
    cells = tuple(reader.cells())
    if not cells:
        raise UsageError(f"{path} describes no cell: give methods and datasets, or cells.")
    seen: set[str] = set()
    for cell in cells:
        if cell.name in seen:
            raise UsageError(f"{path} describes {cell.name} twice; remove one, or give it a name under cells.")
        seen.add(cell.name)
    return Sweep(path.stem, path, runs or runs_root(), cells, reader.mapping(loaded, "slurm"))


class _Reader:
    """Checks the mapping of a sweep's file, and makes its cells."""

    def __init__(self, path: Path, loaded: Config, runs: Path | None) -> None:
        self.path, self.loaded, self.runs = path, loaded, runs
        self._known(loaded, _KEYS, "")
        self.seeds = self._seeds(loaded, [0])
        self.datasets = self._names(loaded, "datasets", "")
        self.flags = self._flags(loaded, "")
        self.detail = loaded.get("detail", False)
        if not isinstance(self.detail, bool):
            raise self._error(f"detail is true or false, not {shown(self.detail)}")
        self.perturb = self._perturb(loaded, "", ())

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of the grid, then the named cells."""
        methods = self._names(self.loaded, "methods", "")
        if methods == ["all"]:
            methods = sorted(registry.method_targets())
        if methods and not self.datasets:
            raise self._error("methods need datasets to run on")
        variants, released = self._variants(methods), self._released(methods)
        for dataset in self.datasets:
            for method in methods:
                if released and dataset not in released[method]:
                    continue
                weights = released[method][dataset] if released else None
                for variant in variants[method]:
                    yield from self._seeded(
                        method, dataset, variant, "", self.loaded, self.flags, self.seeds, self.perturb, weights
                    )
        for name, cell in self.mapping(self.loaded, "cells").items():
            yield from self._named(str(name), cell)

    def _named(self, name: str, cell: Any) -> Iterator[Cell]:
        where = f"cells.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise self._error(f"{where}: a name is made of letters, digits, '.', '_' and '-'")
        if not isinstance(cell, dict):
            raise self._error(f"{where} must be a mapping with at least a method")
        self._known(cell, _CELL_KEYS, where)
        if "method" not in cell:
            raise self._error(f"{where} names no method")
        datasets = self._names(cell, "datasets", where) or self._names(cell, "dataset", where) or self.datasets
        if not datasets:
            raise self._error(f"{where} names no dataset, and neither does the sweep")
        inherited = {key: cell.get(key, self.loaded.get(key)) for key in _CHOICES}
        flags = {**self.flags, **self._flags(cell, where)}
        for dataset in datasets:
            variant = cell.get("variant")
            seeds, perturb = self._seeds(cell, self.seeds), self._perturb(cell, where, self.perturb)
            yield from self._seeded(str(cell["method"]), dataset, variant, name, inherited, flags, seeds, perturb)

    def _seeded(
        self,
        method: str,
        dataset: str,
        variant: str | None,
        name: str,
        choices: Mapping[str, Any],
        flags: Mapping[str, Any],
        seeds: list[int],
        perturb: tuple[str, ...],
        weights: str | None = None,
    ) -> Iterator[Cell]:
        if variant is None:
            data = config.load_yaml(config.find("datasets", dataset))
            variant = config.choose_variant(method, config.method_config(method), data, None)
        label = f"{variant}+{name}" if name else variant
        values = {"model.variant": label, **flags} if name else dict(flags)
        chosen: dict[str, Any] = {key: None if choices.get(key) is None else str(choices[key]) for key in _CHOICES}
        for seed in seeds:
            usual = RunFolder.of(dataset, method, label, seed)
            relative = usual.path.relative_to(runs_root())
            # `test --weights` asks for a folder; other verbs write the usual one without being asked.
            out = None if self.runs is None and weights is None else (self.runs or runs_root()) / relative
            request = RunRequest(
                method, dataset, variant, seed=seed, values=values, out=out, detail=self.detail, **chosen
            )
            try:
                run = resolve(request)
            except UsageError as error:
                raise UsageError(f"{self.path}: {error}") from error
            if perturb and int(run.config["trainer"].get("num_nodes") or 1) > 1:
                raise self._error("perturb: a cell on several nodes is scored by hand, with test --perturb")
            yield Cell(relative.as_posix(), request, run.folder, run.config, weights, perturb)

    def _variants(self, methods: list[str]) -> dict[str, list[Any]]:
        asked = self.loaded.get("variants")
        if asked is None:
            return {method: [None] for method in methods}
        if not isinstance(asked, dict):
            return dict.fromkeys(methods, self._names(self.loaded, "variants", ""))
        for method in asked:
            if method not in methods:
                raise self._error(f"variants: '{method}' is not among the methods.{did_you_mean(str(method), methods)}")
        return {method: self._names(asked, method, "variants") or [None] for method in methods}

    def _released(self, methods: list[str]) -> dict[str, dict[str, str]]:
        """The authors' checkpoints: method -> data set -> name of the file; empty if the sweep names none."""
        asked = self.mapping(self.loaded, "weights")
        for method, files in asked.items():
            if method not in methods:
                raise self._error(f"weights: '{method}' is not among the methods.{did_you_mean(method, methods)}")
            for dataset, file in self.mapping(asked, method, "weights").items():
                if dataset not in self.datasets or not isinstance(file, str):
                    raise self._error(f"weights.{method} must name a file by data set, not {shown(files)}")
        return {method: asked.get(method) or {} for method in methods} if asked else {}

    def _names(self, block: Mapping[str, Any], key: str, where: str) -> list[str]:
        value = block.get(key)
        value = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self._error(f"{_join(where, key)} must be a name or a list of names, not {shown(value)}")
        return value

    def _seeds(self, block: Mapping[str, Any], default: list[int]) -> list[int]:
        value = block.get("seeds", default)
        value = [value] if isinstance(value, int) else value
        good = isinstance(value, list) and value
        if not good or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in value):
            raise self._error(f"seeds must be a list of whole numbers from 0, not {shown(value)}")
        return list(value)

    def _perturb(self, block: Mapping[str, Any], where: str, default: tuple[str, ...]) -> tuple[str, ...]:
        names = self._names(block, "perturb", where)
        if "perturb" not in block:
            return default
        if names:
            from rrsis_bench.data.perturb.table import choices

            try:
                choices(names)
            except UsageError as error:
                raise self._error(f"{_join(where, 'perturb')}: {error}") from error
        return tuple(names)

    def _flags(self, block: Mapping[str, Any], where: str) -> dict[str, Any]:
        flags = self.mapping(block, "flags", where)
        for key in flags:
            group = str(key).partition(".")[0]
            if group == "seed_everything":
                raise self._error(f"{_join(where, 'flags')}: seeds are given by 'seeds', not by seed_everything")
            if group not in _GROUPS or (group == str(key)) != (group == _GROUPS[-1]):
                hint = did_you_mean(group, list(_GROUPS))
                raise self._error(f"{_join(where, 'flags')}: '{key}' is no value such as trainer.max_epochs.{hint}")
        return flags

    def mapping(self, block: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
        """The mapping under a key; empty if the key is missing.

        Raises:
            UsageError: the value is no mapping.
        """
        value = block.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._error(f"{_join(where, key)} must be a mapping, not {shown(value)}")
        return value

    def _known(self, block: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
        for key in block:
            if key not in keys:
                raise self._error(f"unknown key '{_join(where, str(key))}'.{did_you_mean(str(key), list(keys))}")

    def _error(self, message: str) -> UsageError:
        return UsageError(f"{self.path}: {message}{'' if message.endswith('.') else '.'}")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
