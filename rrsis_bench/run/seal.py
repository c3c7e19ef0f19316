"""A result file: its checksum, and the checks that need no table of samples. No torch."""

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
DETAIL_VERSION = 3
"""Version of the results of `test --detail`: version 2 with the block `detail`."""
READABLE = (1, 2, 3)
"""Schema versions that this suite reads. Version 1 counts an expression in tokens of the method's own tokenizer."""

KINDS = ("retrained", "official-weights", "zero-shot", "external", "smoke")
SYNTHETIC_NAMES = frozenset({*PRESETS, "synthetic"})
"""Names that only data sets of the generator may have, whatever a result states."""

Result = dict[str, Any]


def is_synthetic(dataset: Mapping[str, Any]) -> bool:
    """Whether the generator drew a result's data set; its name, its source, or either flag is enough."""
    names = {str(dataset.get(key, "")).lower() for key in ("name", "source")}
    return bool(dataset.get("synthetic")) or bool(names & SYNTHETIC_NAMES) or bool(dataset.get("generator"))


def check_kind(kind: str, dataset: Mapping[str, Any]) -> None:
    """Check that a result's kind is known and fits its data set.

    `zero-shot` fits every data set: its rows have tables of their own, on the smoke board too.

    Raises:
        UserError: unknown kind, `smoke` on a real data set, or a kind of real data on a synthetic one.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of result '{kind}'. Known: {', '.join(KINDS)}.")
    if kind != "zero-shot" and (kind == "smoke") != is_synthetic(dataset):
        what = "synthetic" if is_synthetic(dataset) else "real"
        raise UserError(f"a result on the {what} data set '{dataset.get('name')}' cannot be of kind '{kind}'.")


def sealed(result: Mapping[str, Any]) -> Result:
    """The result with the checksum of all its other values, which reveals a hand edit or a damaged file.

    Raises:
        UserError: JSON cannot hold a value, such as NaN.
    """
    content = {key: value for key, value in result.items() if key != "sha256"}
    try:
        text = json_text(content)
    except (TypeError, ValueError) as error:
        raise UserError(f"a result holds a value that JSON cannot hold: {error}.") from error
    # Parsing the text gives tuples and non-string keys the form that a reader of the file will find.
    return {**json.loads(text), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def text_of(result: Mapping[str, Any]) -> str:
    """The text of `result.json`, with the checksum."""
    return json_text(sealed(result))


def looks_like_a_result(path: Path) -> bool:
    """Whether a file has the keys of a result of this suite; its values are not checked."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(loaded, dict) and {"schema", "sha256", "metrics"} <= loaded.keys()


def read(path: Path | str, brief: bool = False) -> Result:
    """Read a `result.json` and check its version, checksum and kind.

    Args:
        path: the file.
        brief: leave out the breakdowns under all protocols but the default one, which no board shows. They are most of
            the file: reading takes a third of the time. The checksum is still that of the whole file.

    Raises:
        UserError: the file is missing, truncated, no result, edited by hand, or of a kind that its data set forbids.
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
        raise UserError(f"{path} has schema version {loaded.get('schema')}, not {DETAIL_VERSION}. {remedy}")
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
    """The checksum that a file states at its outermost level; "" if `json_text` did not write the file."""
    _, found, rest = text.rpartition('\n  "sha256": "')
    return rest[:64] if found else ""


def _without_other_breakdowns(text: str) -> str:
    """A result's text with empty breakdowns under all protocols but the default one.

    The text must be one that `json_text` made: the indentation shows the level of a line.
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
    """Whether a file's text is byte for byte what `text_of` gives for a result with this checksum.

    `sealed` hashes the text without the checksum's line, which stands once, at the outermost level.
    """
    before, line, after = text.partition(f'\n  "sha256": "{sha256}",\n')
    sealed_text = f"{before}\n{after}"
    return bool(line) and hashlib.sha256(sealed_text.encode("utf-8")).hexdigest() == sha256
