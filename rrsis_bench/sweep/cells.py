"""Judges the state of a cell from its run folder, its lock and its state file. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rrsis_bench import config
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.definitions import monitored
from rrsis_bench.run.lock import Holder, describe
from rrsis_bench.run.seal import training_of
from rrsis_bench.run.state import State
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.data_state import DataStates

STATES = ("done", "running", "queued", "failed", "interrupted", "outdated", "missing")
"""done: finished with these settings and data. outdated: run with others. interrupted: the next sweep continues it."""


@dataclass(frozen=True)
class Verdict:
    """The state of a cell.

    Attributes:
        state: one of `STATES`.
        detail: reason for the state, in words; "" if there is none.
        seconds: wall-clock time of a cell that is done, if known.
        scores: mIoU and oIoU of a cell that is done, as fractions.
        started: UTC time when a running cell was started, if known.
    """

    state: str
    detail: str = ""
    seconds: float | None = None
    scores: tuple[float, float] | None = None
    started: str = ""


def judge(cell: Cell, data: DataStates, own: Holder | None = None) -> Verdict:
    """Judge the state of a cell.

    Args:
        cell: the cell.
        data: present states of the data sets.
        own: the holder of the cell's lock that this process is; it does not count as running.
    """
    state, held = cell.folder.state(), cell.folder.holder()
    if held is not None and held != own:
        return Verdict("running", describe(cell.folder.path, held), started=state.started if state is not None else "")
    if cell.folder.is_finished:
        return _judge_result(cell, data, state)
    if state is not None:
        where = None if state.config_hash == cell.config_hash else _changed(state.config, cell.config)
        if where is not None:
            return Verdict("outdated", f"{'failed' if state.state == 'failed' else 'unfinished'}, {where}")
        if state.state == "queued":
            return Verdict("queued", "in the scheduler's queue")
        if state.state == "failed":
            return Verdict("failed", state.message)
        return Verdict("interrupted", state.message or "its process is gone")
    if not cell.folder.config_path.is_file():
        return Verdict("missing")
    where = _difference_from_file(cell)
    return Verdict("interrupted", "started by hand") if where is None else Verdict("outdated", f"unfinished, {where}")


def _judge_result(cell: Cell, data: DataStates, state: State | None) -> Verdict:
    try:
        result = cell.folder.result()
    except UserError as error:
        return Verdict("outdated", str(error))
    ours = state is not None and state.result_sha256 == result["sha256"]
    if state is None or not ours or state.config_hash != cell.config_hash:
        where = _difference_from_file(cell) or (_dropped(state.config, cell.config) if ours and state else None)
        if where is None and ours and state and cell.weights and shlex.quote(cell.weights) not in state.command:
            where = "another file of the authors' weights was scored"
        if where is not None:
            return Verdict("outdated", where)
    if cell.request.detail and "detail" not in result:
        add = f"{cell.folder.command('test')} --detail --overwrite"
        return Verdict("outdated", f"scored without detail; add it without a new training: {add}")
    block = cell.config["data"]
    known = ours and state is not None and state.data_state and state.data_state == data.state(block)
    if not known and data.content(block) not in {None, result["dataset"].get("content_hash")}:
        return Verdict("outdated", f"the test split of {cell.dataset} has changed since")
    seconds = state.seconds if ours and state is not None else (result.get("training") or {}).get("seconds")
    if left := unscored(cell):
        return Verdict("interrupted", f"not scored under {', '.join(left)} yet")
    chosen_by = result["protocols"][0]
    first = result["metrics"][chosen_by]
    scores = (first[monitored("miou", chosen_by)]["value"], first[monitored("oiou", chosen_by)]["value"])
    return Verdict("done", "", seconds, scores if None not in scores else None)


def unscored(cell: Cell) -> list[str]:
    """The cell's perturbations without a sound result of their present version and of the run's present training."""
    if not cell.perturb:
        return []
    from rrsis_bench.data.perturb.table import choices

    try:
        clean = training_of(cell.folder.result(brief=True)) if cell.folder.is_finished else None
    except UserError:
        clean = None
    found = []
    for name, choice in zip(cell.perturb, choices(cell.perturb), strict=True):
        folder = cell.folder.perturbed(choice.label)
        try:
            result = folder.result(brief=True) if folder.is_finished else {}
        except UserError:
            result = {}
        sound = (result.get("perturbation") or {}).get("version") == choice.of.version
        if not sound or training_of(result) != clean:
            found.append(name)
    return found


def _difference_from_file(cell: Cell) -> str | None:
    """The first difference between a run's saved configuration and the cell's, in words; None if there is none."""
    try:
        saved = cell.folder.config()
    except UserError as error:
        return str(error)
    return _contradiction(cell.config, saved)


def _changed(before: config.Config, now: config.Config) -> str | None:
    """The first difference between two configurations of a cell that may change results, in words; None for none."""
    return _contradiction(now, before) or _dropped(before, now)


def _contradiction(asked: Any, saved: Any, where: str = "") -> str | None:
    """The first value of the cell's configuration that differs from the saved one, in words; None for none.

    The saved configuration also holds all defaults. A key that it lacks was added by a later version of the suite: a
    false, zero or empty value there is no difference. It is one among a method's options, which are saved as given.
    """
    if isinstance(asked, Mapping) and isinstance(saved, Mapping | None):
        for key, value in asked.items():
            inner = f"{where}.{key}" if where else str(key)
            later = saved is not None and key not in saved and not value and where != "model.options"
            found = None if later else _contradiction(value, (saved or {}).get(key), inner)
            if found is not None:
                return found
        return None
    if isinstance(asked, list | tuple) and isinstance(saved, list | tuple) and len(asked) == len(saved):
        pairs = zip(asked, saved, strict=True)
        return next((found for a, b in pairs if (found := _contradiction(a, b, where)) is not None), None)
    return None if _plain(asked) == _plain(saved) else f"{where} was {saved!r} and is {asked!r} now"


def _dropped(before: Any, now: Any, where: str = "") -> str | None:
    """The first value that was given before and is now left to its default, in words; None for none."""
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return None
    for key, value in before.items():
        inner = f"{where}.{key}" if where else str(key)
        if key not in now:
            if value is not None:
                return f"{inner} was {value!r} and is left to its default now"
        elif (found := _dropped(value, now[key], inner)) is not None:
            return found
    return None


def _plain(value: Any) -> Any:
    """A value to compare: YAML reads `1e-4` as text, the parser as a number."""
    try:
        return float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else value
    except ValueError:
        return value
