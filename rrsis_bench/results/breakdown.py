"""Scores of parts of a split: by category, object size, number of words and wording."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.sizes import SIZE_NAMES, size_bins
from rrsis_bench.data.wording import WORD_EDGES, WORD_NAMES
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.protocols import NATIVE, Protocol
from rrsis_bench.results.samples import SampleTable

PARTS = ("category", "size")
"""The breakdowns that boards and comparisons show."""

TOKEN_EDGES = (5, 10, 15, 20)
"""Inclusive upper bounds of the bins of length in tables of version 1, which count tokens of a method's tokenizer."""
TOKEN_NAMES = ("1-5", "6-10", "11-15", "16-20", ">20")


def groups(table: SampleTable, protocol: Protocol | None = None) -> dict[str, dict[str, NDArray[np.int64]]]:
    """The rows of each part: breakdown -> part -> row numbers. Empty parts are left out.

    The size is the native truth's share of the native image. Under a generalised protocol, what is not there has none.
    """
    shares = _shares(table)
    size = np.asarray(size_bins(shares))
    if protocol is not None and protocol.generalised:
        size = np.where(shares > 0, size, -1)
    found: dict[str, dict[str, NDArray[np.int64]]] = {
        "category": _split(np.array(table.category), sorted(set(table.category) - {""})),
        "size": {name: np.flatnonzero(size == i) for i, name in enumerate(SIZE_NAMES)},
        **_by_length(table),
        "wording": {
            "position only": np.flatnonzero(table.position & ~table.relation),
            "relation only": np.flatnonzero(table.relation & ~table.position),
            "position and relation": np.flatnonzero(table.position & table.relation),
            "neither": np.flatnonzero(~table.position & ~table.relation),
        },
    }
    return {kind: {name: rows for name, rows in parts.items() if len(rows)} for kind, parts in found.items()}


def _by_length(table: SampleTable) -> dict[str, dict[str, NDArray[np.int64]]]:
    """The breakdown `words`, or `length` for a table of version 1, whose lengths are tokens."""
    if table.unit == "tokens":
        place = np.searchsorted(np.array(TOKEN_EDGES), table.lengths, side="left")
        return {"length": {name: np.flatnonzero(place == i) for i, name in enumerate(TOKEN_NAMES)}}
    place = np.searchsorted(np.array(WORD_EDGES), table.lengths, side="left")
    return {"words": {name: np.flatnonzero(place == i) for i, name in enumerate(WORD_NAMES)}}


def _shares(table: SampleTable) -> NDArray[np.float64]:
    view = NATIVE.name if NATIVE.name in table.views else table.views[0]
    shares: NDArray[np.float64] = table.view(view)[:, 0] / np.maximum(table.height * table.width, 1)
    return shares


def _split(values: NDArray[Any], names: list[str]) -> dict[str, NDArray[np.int64]]:
    return {name: np.flatnonzero(values == name) for name in names}


def breakdown(table: SampleTable, protocol: Protocol) -> dict[str, dict[str, dict[str, float | None]]]:
    """Score every part under a protocol: breakdown -> part -> metric -> value (None for NaN)."""
    counts = table.view(protocol.view.name)
    return {
        kind: {name: plain(scores(counts[rows], protocol)) for name, rows in parts.items()}
        for kind, parts in groups(table, protocol).items()
    }


def plain(values: dict[str, float]) -> dict[str, float | None]:
    """Replace NaN by None, since JSON has no NaN."""
    return {name: None if value != value else value for name, value in values.items()}
