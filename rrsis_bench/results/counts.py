"""Takes from a run's samples the integers that `stats` compares and ranks."""

from __future__ import annotations

from rrsis_bench.metrics.protocols import DEFAULT, get
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.stats.paired import RunCounts


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
