"""A result file: its checksum, and what can be checked of it without its samples. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrsis_bench.data.synthetic.presets import PRESETS
from rrsis_bench.errors import UserError
from rrsis_bench.files import json_text
from rrsis_bench.metrics import protocols as rules

SCHEMA_VERSION = 2
READABLE = (1, 2)
"""Versions that are still read. In version 1 the lengths of expressions are tokens of the method's own tokenizer."""

KINDS = ("retrained", "official-weights", "external", "smoke")
SYNTHETIC_NAMES = frozenset({*PRESETS, "synthetic"})
"""Data sets that are drawn by the generator, whatever a result says of itself."""

Result = dict[str, Any]


def is_synthetic(dataset: Mapping[str, Any]) -> bool:
    """Whether a result's data set is drawn by the generator; any one sign is enough."""
    names = {str(dataset.get(key, "")).lower() for key in ("name", "source")}
    return bool(dataset.get("synthetic")) or bool(names & SYNTHETIC_NAMES) or bool(dataset.get("generator"))


def check_kind(kind: str, dataset: Mapping[str, Any]) -> None:
    """Raise UserError for an unknown kind, a smoke result of a real data set, or the reverse."""
    if kind not in KINDS:
        raise UserError(f"unknown kind of result '{kind}'. Known: {', '.join(KINDS)}.")
    if (kind == "smoke") != is_synthetic(dataset):
        what = "synthetic" if is_synthetic(dataset) else "real"
        raise UserError(f"a result on the {what} data set '{dataset.get('name')}' cannot be of kind '{kind}'.")


def sealed(result: Mapping[str, Any]) -> Result:
    """The result with the checksum of everything else in it, by which a hand edit or a damaged file shows."""
    content = {key: value for key, value in result.items() if key != "sha256"}
    try:
        text = json_text(content)
    except (TypeError, ValueError) as error:
        raise UserError(f"a result holds a value that JSON cannot: {error}.") from error
    # Through the text, so that tuples and non-string keys are what a reader will find in the file.
    return {**json.loads(text), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def text_of(result: Mapping[str, Any]) -> str:
    """The text of `result.json`, sealed."""
    return json_text(sealed(result))


def looks_like_a_result(path: Path) -> bool:
    """Whether a file is, at a glance, a result of this suite, sound or not."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(loaded, dict) and {"schema", "sha256", "metrics"} <= loaded.keys()


def read(path: Path | str, brief: bool = False) -> Result:
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
        check_kind(loaded["kind"], loaded["dataset"])
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
