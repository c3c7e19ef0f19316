"""Identifiers of annotation files: each one is there, is a number or a text, and stands for one thing.

0 is an identifier like any other, and so is a text. What several entries claim is reported with both places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rrsis_bench.data.sources.base import Finding, Report, Severity

Id = int | str
CHECK = "duplicate-id"


def read_id(value: Any) -> Id | None:
    """An identifier as files write it: a whole number or a text. None if the value is missing, empty or neither.

    Some programs write whole numbers as floats: 7.0 is 7. True and false are no identifiers.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return value if not isinstance(value, str) or value.strip() else None


@dataclass
class Claims:
    """Remembers where each name was claimed first, and reports a name that is claimed again.

    Attributes:
        what: the kind of name, for messages, such as "sample_id".
        report: takes the findings.
        severity: of these findings.
    """

    what: str
    report: Report
    severity: Severity = "error"
    _first: dict[Any, str] = field(default_factory=dict)

    def claim(self, name: Any, where: str) -> bool:
        """Claim a name for a place. Returns False, after a report of both places, if another place has claimed it."""
        first = self._first.setdefault(name, where)
        if first == where:
            return True
        self.report(Finding(self.severity, where, f"{self.what} {name!r} is also that of {first}", CHECK))
        return False


def by_id(
    entries: Iterable[Any], part: str, file: str, report: Report, severity: Severity = "error"
) -> dict[Id, tuple[str, dict[str, Any]]]:
    """The entries of a list by their id, each with its place in the file. The first one of an id stays.

    Args:
        entries: what the list of the annotation file holds.
        part: name of the list: `images`, `annotations` or `categories`.
        file: the annotation file relative to the data root.
        report: takes what is wrong: no mapping, no id, an id for two entries.
        severity: of the report on two different entries with one id. Equal entries are a warning; they mix nothing.
    """
    found: dict[Id, tuple[str, dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        where = f"{file}#{part}[{number}]"
        key = read_id(entry.get("id")) if isinstance(entry, Mapping) else None
        if key is None:
            what = f"id {entry.get('id')!r} is" if isinstance(entry, Mapping) and "id" in entry else "entry has"
            lacking = "neither a whole number nor a text" if what.endswith("is") else "no id"
            report(Finding("error", where, f"{what} {lacking}", "format"))
            continue
        if key not in found:
            found[key] = (where, {**entry, "id": key})
            continue
        first, other = found[key]
        same = {**entry, "id": key} == other
        message = f"id {key!r} is also that of {first}" + (", with equal content; used once" if same else "")
        report(Finding("warning" if same else severity, where, message, CHECK))
    return found
