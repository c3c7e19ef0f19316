"""Keeping result files honest: check them, score them again from their integers, copy them into the repository."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

from rrsis_bench.errors import UserError
from rrsis_bench.results import gallery, record
from rrsis_bench.results.atomic import json_text, write_text
from rrsis_bench.results.samples import FILE as SAMPLES_FILE
from rrsis_bench.results.samples import SampleTable, read_samples
from rrsis_bench.results.schema import violations


def check(path: Path) -> list[str]:
    """What is wrong with one `result.json` and its companions; empty if nothing is.

    Checked: checksum, kind, schema, the three files, that the samples are those the result was made from, and that
    every metric, interval and breakdown computed from them again is what the file says.
    """
    try:
        result = record.read_result(path)
    except UserError as error:
        return [str(error)]
    found = [f"{path}: {violation}" for violation in violations(result)]
    if not (path.parent / record.CONFIG_FILE).is_file():
        found.append(f"{path.parent / record.CONFIG_FILE} is missing.")
    if found:
        return found
    try:
        table = read_samples(path.parent / SAMPLES_FILE)
        again = record.score_block(table, result["protocols"])
    except UserError as error:
        return [str(error)]
    if record.samples_sha256(table) != result["samples_sha256"]:
        found.append(f"{path.parent / SAMPLES_FILE} is not the file that {path.name} was made from.")
    sizes = (len(table), len(set(table.image_id)))
    if sizes != (result["dataset"]["n_samples"], result["dataset"]["n_images"]):
        found.append(f"{path}: the samples hold {sizes[0]} samples of {sizes[1]} images, the result says otherwise.")
    where = difference(result["metrics"], _plain(again))
    if where is not None:
        found.append(f"{path}: metrics{where} is not what the samples give. Run: rrsis-bench results rescore.")
    return found


def difference(here: Any, there: Any, where: str = "") -> str | None:
    """Where two JSON values differ by more than rounding (1e-9), such as `.native-v1.miou`; None if nowhere."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            if key not in here or key not in there:
                return f"{where}.{key}"
            inner = difference(here[key], there[key], f"{where}.{key}")
            if inner is not None:
                return inner
        return None
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        steps = (difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(here, there, strict=True)))
        return next((step for step in steps if step is not None), None)
    if isinstance(here, int | float) and isinstance(there, int | float):
        return None if math.isclose(here, there, rel_tol=1e-9, abs_tol=1e-9) else where
    return None if here == there else where


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def rescored(path: Path) -> tuple[record.Result, record.Result]:
    """A result, and what it would be if it were made from its samples today.

    Raises:
        UserError: the result or its samples cannot be read or trusted.
    """
    result = record.read_result(path)
    table = read_samples(path.parent / SAMPLES_FILE)
    if record.samples_sha256(table) != result.get("samples_sha256"):
        raise UserError(f"{path.parent / SAMPLES_FILE} is not the file that {path} was made from. Test the run again.")
    again = record.score_block(table, result["protocols"])
    if difference(result["metrics"], _plain(again)) is None:
        return result, result
    return result, record.sealed({**result, "metrics": again})


def rescore(path: Path, write: bool = True) -> bool:
    """Compute every metric of a result again from its samples; rewrite the result atomically if it changes.

    Returns:
        whether it changes.

    Raises:
        UserError: see `rescored`.
    """
    before, after = rescored(path)
    changed = after is not before
    if changed and write:
        write_text(path, json_text(after))
    return changed


_ABSOLUTE = re.compile(r"(?<![\w./~:-])(?:~|/|[A-Za-z]:[\\/])(?:[^\s'\":,\]})]+[\\/])*([^\s'\":,\]}/\\)]*)")


def strip_paths(text: str) -> str:
    """A text without folders outside the project: an absolute or home path keeps its last part only."""
    return _ABSOLUTE.sub(lambda match: match.group(1) or ".", text)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(entry) for key, entry in value.items() if key not in {"host", "hostname", "node"}}
    if isinstance(value, list):
        return [_stripped(entry) for entry in value]
    return strip_paths(value) if isinstance(value, str) else value


def export(run: Path, to: Path) -> Path:
    """Copy a run's files to `<to>/<dataset>/<method>@<variant>/seed<k>`, without host names and absolute paths.

    Returns:
        the folder written.

    Raises:
        UserError: the run has no sound result, or another result is already there.
    """
    path = run / record.FILE if run.is_dir() else run
    if not path.is_file():
        raise UserError(f"{run} holds no {record.FILE}: test the run first (rrsis-bench test --run {run}).")
    problems = check(path)
    if problems:
        raise UserError(f"{problems[0]} A result that fails its check is not exported.")
    result = record.read_result(path)
    method, dataset = result["method"], result["dataset"]
    target: Path = to / dataset["name"] / f"{method['name']}@{method['variant']}" / f"seed{_seed(result, path)}"
    if (target / record.FILE).is_file() and (target / record.FILE).resolve() == path.resolve():
        raise UserError(f"{run} is already in its place under {to}.")
    config = strip_paths((path.parent / record.CONFIG_FILE).read_text(encoding="utf-8"))
    table: SampleTable = read_samples(path.parent / SAMPLES_FILE)
    # Metrics are left alone: a category's name may hold a slash.
    cleaned = _stripped({key: value for key, value in result.items() if key != "metrics"})
    pictures = gallery.read(path.parent, dataset, table)
    if pictures:
        gallery.write(target, pictures)
    record.write_run(target, {**cleaned, "metrics": result["metrics"]}, table, config)
    return target


def _seed(result: record.Result, path: Path) -> int:
    seed = (result.get("training") or {}).get("seed")
    if isinstance(seed, int):
        return seed
    named = re.fullmatch(r"seed(\d+)", PurePosixPath(path.resolve().parent.as_posix()).name)
    return int(named.group(1)) if named else 0
