"""`result.json`: made from integers, written atomically, read with suspicion."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rrsis_bench.data.synthetic.presets import PRESETS
from rrsis_bench.errors import UserError
from rrsis_bench.files import json_text, write_text
from rrsis_bench.metrics import protocols as rules
from rrsis_bench.metrics.functional import METRICS, scores
from rrsis_bench.results import samples as table_file
from rrsis_bench.results.breakdown import breakdown, plain
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.stats import bootstrap

SCHEMA_VERSION = 2
READABLE = (1, 2)
"""Versions that are still read. In version 1 the lengths of expressions are tokens of the method's own tokenizer."""

FILE = "result.json"
CONFIG_FILE = "config.yaml"
KINDS = ("retrained", "official-weights", "external", "smoke")
SYNTHETIC_NAMES = frozenset({*PRESETS, "synthetic"})
"""Data sets that are drawn by the generator, whatever a result says of itself."""

Result = dict[str, Any]


def is_synthetic(dataset: Mapping[str, Any]) -> bool:
    """Whether a result's data set is drawn by the generator; any one sign is enough."""
    names = {str(dataset.get(key, "")).lower() for key in ("name", "source")}
    return bool(dataset.get("synthetic")) or bool(names & SYNTHETIC_NAMES) or bool(dataset.get("generator"))


def language_control(table: SampleTable, permuted: SampleTable, protocol: str = rules.DEFAULT) -> dict[str, Any]:
    """The language-control block: the scores with permuted expressions, and their ratio to the true ones.

    Args:
        table: samples scored with their own expressions.
        permuted: the same samples scored with permuted ones.
        protocol: which rules to score by.

    Returns:
        `protocol`, `miou` and `oiou` with permuted expressions, `miou_ratio` and `oiou_ratio` to the true ones
        (None where that score is 0 or NaN), `n`.
    """
    view = rules.get(protocol).view.name
    true, control = (scores(part.view(view), protocol) for part in (table, permuted))
    block: dict[str, Any] = {"protocol": protocol, "n": int(control["n"])}
    for name in ("miou", "oiou"):
        block |= plain({name: control[name], f"{name}_ratio": _ratio(control[name], true[name])})
    return block


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def score_block(table: SampleTable, protocols: Iterable[str]) -> dict[str, Any]:
    """The `metrics` block: protocol -> metric -> value and interval, `n`, `n_empty`, and the breakdowns `by`.

    A value that is not a number is None; an interval that cannot be given is None.
    """
    names = list(dict.fromkeys(protocols))
    counts = {name: table.view(rules.get(name).view.name) for name in names}
    spread = bootstrap.intervals(counts, table.image_id)
    block: dict[str, Any] = {}
    for name in names:
        values = plain(scores(counts[name], name))
        entry: dict[str, Any] = {"n": values["n"], "n_empty": values["n_empty"]}
        for metric in METRICS:
            interval = spread[name][metric]
            entry[metric] = {"value": values[metric], "interval": None if interval is None else list(interval)}
        entry["by"] = breakdown(table, rules.get(name))
        block[name] = entry
    return block


def build_result(
    *,
    kind: str,
    method: Mapping[str, Any],
    dataset: Mapping[str, Any],
    samples: SampleTable,
    protocols: Iterable[str],
    selected_on: str,
    training: Mapping[str, Any] | None = None,
    efficiency: Mapping[str, Any] | None = None,
    language_control: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Result:
    """Make a result from the integers of a split.

    Args:
        kind: `retrained`, `official-weights`, `external`, or `smoke` for a synthetic data set.
        method: `name`, `variant`, `target` ("module:Class"), and what else is known of it: `card_sha256`, `fidelity`,
            `policy`, `venue`, `year`, `encoders`.
        dataset: `name`, `split`, `source`, `synthetic` (bool), `content_hash`, and what else is known: `revision`,
            `n_skipped` (reason -> number). Numbers of samples and images are added here.
        samples: the integers.
        protocols: names of the protocols to score by; the first is the one the boards show.
        selected_on: split the checkpoint was chosen on, or "none".
        training: how it was trained; None if it was not trained here.
        efficiency: parameters, GFLOPs, latency and memory as far as they were measured.
        language_control: from the function of that name.
        provenance: from `provenance.provenance`.

    Returns:
        the result, complete with its own checksum.

    Raises:
        UserError: an unknown kind, a smoke result of a real data set or the reverse, or samples that cannot be scored.
    """
    _check_kind(kind, dataset)
    names = list(dict.fromkeys(protocols))
    result: Result = {
        "schema": SCHEMA_VERSION,
        "kind": kind,
        "status": "complete",
        "method": dict(method),
        "dataset": {
            "n_skipped": {},
            **dataset,
            "synthetic": is_synthetic(dataset),
            "n_samples": len(samples),
            "n_images": len(set(samples.image_id)),
        },
        "protocols": names,
        "selected_on": selected_on,
        "metrics": score_block(samples, names),
        "bootstrap": {
            "unit": "image",
            "resamples": bootstrap.RESAMPLES,
            "seed": bootstrap.SEED,
            "level": bootstrap.LEVEL,
        },
        "samples_sha256": samples_sha256(samples),
        "language_control": _optional(language_control),
        "training": _optional(training),
        "efficiency": _optional(efficiency),
        "provenance": dict(provenance or {}),
    }
    return sealed(result)


def _optional(block: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if block is None else dict(block)


def _check_kind(kind: str, dataset: Mapping[str, Any]) -> None:
    if kind not in KINDS:
        raise UserError(f"unknown kind of result '{kind}'. Known: {', '.join(KINDS)}.")
    if (kind == "smoke") != is_synthetic(dataset):
        what = "synthetic" if is_synthetic(dataset) else "real"
        raise UserError(f"a result on the {what} data set '{dataset.get('name')}' cannot be of kind '{kind}'.")


def samples_sha256(table: SampleTable) -> str:
    """sha256 of the uncompressed sample table: independent of the compressor's version."""
    return hashlib.sha256(table_file.text(table).encode("utf-8")).hexdigest()


def sealed(result: Mapping[str, Any]) -> Result:
    """The result with the checksum of everything else in it, by which a hand edit or a damaged file shows."""
    content = {key: value for key, value in result.items() if key != "sha256"}
    try:
        text = json_text(content)
    except (TypeError, ValueError) as error:
        raise UserError(f"a result holds a value that JSON cannot: {error}.") from error
    # Through the text, so that tuples and non-string keys are what a reader will find in the file.
    return {**json.loads(text), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def write_run(folder: Path | str, result: Mapping[str, Any], samples: SampleTable, config_yaml: str) -> Path:
    """Write a run's three files atomically, the result last: where it is, the run is complete.

    Returns:
        the path of `result.json`.

    Raises:
        UserError: a file cannot be written (disk full, no permission); an earlier file of that name stays.
    """
    folder = Path(folder)
    content = json_text(sealed(result))
    table_file.write_samples(folder / table_file.FILE, samples)
    write_text(folder / CONFIG_FILE, config_yaml)
    write_text(folder / FILE, content)
    return folder / FILE


def read_result(path: Path | str, brief: bool = False) -> Result:
    """Read a `result.json` and check everything that can be checked without its samples.

    Args:
        path: the file.
        brief: leave out the breakdowns under other protocols than the first, which is most of the file and which no
            board shows; the checksum is of the whole file all the same. Three times as fast.

    Raises:
        UserError: missing, truncated, not a result, edited by hand, or of a kind its data set forbids.
    """
    path = Path(path)
    remedy = "Test the run again, or restore the file."
    try:
        text = path.read_text(encoding="utf-8")
        known = brief and _as_written(text, _stated(text))
        loaded = json.loads(_without_other_breakdowns(text) if known else text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}. {remedy}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is truncated or not JSON: {error}. {remedy}") from error
    if not isinstance(loaded, dict) or "sha256" not in loaded:
        raise UserError(f"{path} is not a result of this suite. {remedy}")
    if loaded.get("schema") not in READABLE:
        raise UserError(f"{path} has schema version {loaded.get('schema')}, not {SCHEMA_VERSION}. {remedy}")
    try:
        whole = known or _as_written(text, loaded["sha256"]) or sealed(loaded)["sha256"] == loaded["sha256"]
    except UserError as error:
        raise UserError(f"{path}: {error} {remedy}") from error
    if not whole:
        raise UserError(f"{path} does not match its checksum: it was edited by hand or damaged. {remedy}")
    try:
        _check_kind(loaded["kind"], loaded["dataset"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a complete result: {error}. {remedy}") from error
    except UserError as error:
        raise UserError(f"{path}: {error} {remedy}") from error
    return loaded


def _stated(text: str) -> str:
    """The checksum a file states at its outermost level; "" if it is not laid out by `json_text`."""
    _, found, rest = text.rpartition('\n  "sha256": "')
    return rest[:64] if found else ""


def _without_other_breakdowns(text: str) -> str:
    """A result's text with empty breakdowns under all protocols but the default one.

    Only for text that is known to be laid out by `json_text`, where indentation tells the level.
    """
    opening, closing = '\n      "by": {\n', "\n      },\n"
    before, *parts = text.split(opening)
    kept = [before]
    for part in parts:
        if before.endswith(f'\n    "{rules.DEFAULT}": {{'):
            kept += [opening, part]
        else:
            kept += ['\n      "by": {},\n', part[part.index(closing) + len(closing) :]]
        before = part
    return "".join(kept)


def _as_written(text: str, sha256: Any) -> bool:
    """Whether a file is, byte for byte, one that `write_run` wrote with that checksum: no need to write it again.

    What was sealed is the text without the line of the checksum, which stands once, at the outermost level.
    """
    before, line, after = text.partition(f'\n  "sha256": "{sha256}",\n')
    sealed_text = f"{before}\n{after}"
    return bool(line) and hashlib.sha256(sealed_text.encode("utf-8")).hexdigest() == sha256


def find_results(paths: Iterable[Path]) -> list[Path]:
    """All `result.json` files under folders (or named themselves), sorted."""
    found: set[Path] = set()
    for path in paths:
        found |= set(path.rglob(FILE)) if path.is_dir() else {path}
    return sorted(found, key=lambda path: path.as_posix())
