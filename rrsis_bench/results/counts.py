"""Takes from a run's samples the integers that `stats` compares and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rrsis_bench.data.empty_truth import only_generalised
from rrsis_bench.metrics.protocols import DEFAULT, NATIVE, get
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.stats.paired import RunCounts


def scored_by(table: SampleTable, protocol: str, dataset: Mapping[str, Any]) -> SampleTable:
    """The samples that a protocol scores: all but, by the rule `no-target`, those without a target.

    Args:
        table: a run's samples.
        protocol: name of the protocol; a generalised one scores all.
        dataset: the `dataset` block of the run's result.
    """
    if get(protocol).generalised or not only_generalised(dataset):
        return table
    return table.rows(np.flatnonzero(table.view(NATIVE.name)[:, 0] > 0))


def run_counts(table: SampleTable, protocol: str = DEFAULT, where: str = "a run") -> RunCounts:
    """Take the integers of a sample table under one protocol.

    Args:
        table: a run's samples.
        protocol: name of the protocol.
        where: name of the run in error messages.

    Raises:
        UsageError: the protocol is unknown.
        UserError: the table lacks the protocol's view.
    """
    return RunCounts(table.sample_id, table.image_id, table.view(get(protocol).view.name), protocol, where)
