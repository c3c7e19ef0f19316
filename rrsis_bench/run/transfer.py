"""Results that are filed under a run: on other data sets, without near-duplicates, perturbed. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rrsis_bench.data.categories import Transfer
from rrsis_bench.data.overlap import read_overlap
from rrsis_bench.data.perturb.table import Choice
from rrsis_bench.errors import UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import ResolvedRun


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
    return changed, Transfer(own, overlap)


def filed(
    run: ResolvedRun, perturbations: Sequence[Choice], transfer: Transfer | None
) -> tuple[ResolvedRun, list[RunFolder]]:
    """The run with the folder that its results are filed under, and the folder of each result.

    Raises:
        UsageError: a transfer of a run that trained nothing.
    """
    if transfer is not None:
        if run.zero_shot:
            name, dataset = run.config["model"]["method"], run.config["data"]["dataset"]
            raise UsageError(f"{name} trains nothing; score it with test --method {name} --dataset {dataset}.")

        run = replace(run, folder=run.folder.elsewhere(transfer.label(run.config["data"]["dataset"])))
    return run, [run.folder.perturbed(choice.label) for choice in perturbations] or [run.folder]
