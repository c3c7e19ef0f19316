"""What makes a request of `test` one for another data set than the run's own. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rrsis_bench.data.categories import Transfer, trained_on
from rrsis_bench.data.overlap import read_overlap
from rrsis_bench.errors import UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest


def transferred(request: RunRequest, exclude_overlap: Path | None) -> tuple[RunRequest, Transfer | None]:
    """The request with another data set as `elsewhere`, and what is to be known of the run's own.

    Args:
        request: as the user typed it: `dataset` may name another data set than the run's.
        exclude_overlap: a list of near-duplicates to leave out; None for none.

    Returns:
        the request; and None where it is an ordinary test.

    Raises:
        UsageError: no run, or the list is of other data sets.
    """
    if request.run is None:
        if exclude_overlap is not None:
            raise UsageError("--exclude-overlap: name the run that was trained, with --run DIR.")
        return request, None
    own = RunFolder(request.run).config()["data"]
    name = str(own["dataset"])
    elsewhere = None if request.dataset in (None, name) else request.dataset
    if elsewhere is None and exclude_overlap is None:
        return request, None
    overlap = None if exclude_overlap is None else read_overlap(exclude_overlap, elsewhere or name, name)
    changed = replace(request, dataset=None if elsewhere else request.dataset, elsewhere=elsewhere)
    return changed, Transfer(name, trained_on(own), overlap)
