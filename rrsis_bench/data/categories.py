"""Class names of different data sets, compared: which of one data set's classes another one trains on. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from rrsis_bench.data.catalogue import describe
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.overlap import Overlap
from rrsis_bench.data.perturb.wordlists import SPELLINGS, SYNONYMS
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.errors import UserError

SAME: Mapping[str, str] = {
    "aircraft": "airplane",
    "baseball diamond": "baseball field",
    "boat": "ship",
    "soccer field": "soccer ball field",
    "football field": "soccer ball field",
    "track field": "ground track field",
    "pool": "swimming pool",
    "service area": "expressway service area",
    "toll station": "expressway toll station",
}
"""Class -> the name it is compared under, beside the synonyms and spellings of `perturb.wordlists`."""


def canonical(name: str) -> str:
    """The name that a class is compared under: lower-case, singular, American, and one of its synonyms."""
    words = re.sub(r"[\s_-]+", " ", name.strip().lower()).split(" ")
    american = _american()
    plain = " ".join(american.get(word, word) for word in words)
    singular = re.sub(r"(?<=[sxh])es$|(?<!s)s$", "", plain)
    known = _names()
    for form in (plain, singular):
        if form in known:
            return known[form]
    return singular


@cache
def _american() -> dict[str, str]:
    return {british: american for american, british in SPELLINGS.items()}


@cache
def _names() -> dict[str, str]:
    names = {other: SAME.get(name, name) for name, others in SYNONYMS.items() for other in others}
    return {**names, **{name: SAME.get(name, name) for name in SYNONYMS}, **SAME}


def split_of(tested: Iterable[str], trained: Iterable[str] | None) -> tuple[list[str], list[str]] | None:
    """Divide the classes of a tested data set into those that the other one trains on, and the others.

    Args:
        tested: class names; "" for samples without one, which belong to neither.
        trained: class names of the training; None if they are not known.

    Returns:
        shared and unseen names, as the tested data set writes them, sorted; None if `trained` is None.
    """
    if trained is None:
        return None
    known = {canonical(name) for name in trained}
    names = sorted({name for name in tested if name})
    shared = [name for name in names if canonical(name) in known]
    return shared, [name for name in names if name not in shared]


@dataclass(frozen=True)
class Transfer:
    """A run that is scored on another data set than its own, or on its own without near-duplicates.

    Attributes:
        own: the `data` block of the run's own configuration.
        overlap: what to leave out; None for nothing.
    """

    own: Mapping[str, Any]
    overlap: Overlap | None = None

    @property
    def trained_on(self) -> str:
        """Name of the run's own data set."""
        return str(self.own["dataset"])

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """Classes of the run's training; None if they are not known. Reads the training split once."""
        return trained_on(self.own)

    def label(self, dataset: str) -> str:
        """The folder of the result, under `on/`."""
        return dataset if self.overlap is None else f"{dataset}-without-overlap"


def trained_on(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes of a data set's training split; those it is known for where it is not on disk; None if unknown.

    Args:
        data: the `data` block of the run's own configuration.
    """
    try:
        located = locate(data)
        found = {pair.category for pair in Manifest.open(ensure_manifest(located), "train", located.empty_truth)} - {""}
    except UserError:
        found = set(describe(str(data["dataset"]), data.get("source")).classes)
    return tuple(sorted(found)) or None
