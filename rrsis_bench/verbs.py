"""`fit`, `validate` and `test` of a request. All that needs no torch is checked before the engine is imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rrsis_bench.errors import UsageError
from rrsis_bench.files import prove_writable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import ResolvedRun, resolve
from rrsis_bench.run.start import check_trainable, checkpoint_to_continue, is_first_process
from rrsis_bench.run.values import check_scoring


def fit_run(
    request: RunRequest, resume: Path | str | None = None, overwrite: bool = False, accept_changes: bool = False
) -> RunFolder:
    """Train as a request says; see `api.fit`. With `resume="auto"` and a finished run, do nothing.

    Returns:
        the run folder.
    """
    check_trainable(resolve(request))
    if accept_changes and resume is None:
        raise UsageError("--accept-changes has no effect on a new run: leave it out, or continue a run with --resume.")
    run = _resolved(request)
    folder = run.folder
    checkpoint = checkpoint_to_continue(folder, resume, overwrite)
    if resume == "auto" and folder.is_finished:
        # Every process of torchrun must return here: a process that went on would wait for the others for ever.
        if is_first_process():
            print(f"nothing to do: {folder} holds a finished run.")
        return folder
    if is_first_process():
        folder.check_free()
        prove_writable(folder.config_path, folder.last)
    from rrsis_bench.engine.fit import fit as train

    train(run, checkpoint, overwrite, accept_changes)
    return folder


def validate_run(request: RunRequest, ckpt: Path | None = None) -> None:
    """Score a checkpoint on the validation split and print the scores."""
    run, checkpoint = _with_checkpoint(request, ckpt)
    from rrsis_bench.engine.score import validate

    validate(run, checkpoint)


def test_run(
    request: RunRequest,
    ckpt: Path | None = None,
    weights: str | None = None,
    overwrite: bool = False,
    perturb: Sequence[str] = (),
    exclude_overlap: Path | None = None,
) -> list[RunFolder]:
    """Score a checkpoint on the test split and write the result; see `api.test`. Each perturbation gives a result.

    Returns:
        the folder of each result.
    """
    from rrsis_bench.data.perturb.table import choices
    from rrsis_bench.run.transfer import filed, transferred

    asked = choices(perturb)
    request, transfer = transferred(request, exclude_overlap)
    if asked and transfer is not None:
        raise UsageError("--perturb is scored on the run's own data set; leave --dataset and --exclude-overlap out.")
    if request.detail and (asked or transfer is not None):
        raise UsageError("--detail is of the run's own split as it is; leave it out, or test the run apart.")
    if weights is None:
        run, checkpoint = _with_checkpoint(request, ckpt)
    else:
        if request.run is not None or ckpt is not None:
            raise UsageError("--weights is scored instead of a run or a checkpoint; leave out --run and --ckpt.")
        if request.out is None:
            raise UsageError("--weights: say where the result goes with --out DIR.")
        run, checkpoint = _resolved(request), None
    run, folders = filed(run, asked, transfer)
    if is_first_process():
        run.folder.check_usable()
        for folder in folders:
            if folder.is_finished and not overwrite:
                raise UsageError(f"{folder} already holds a result; pass --overwrite, or another --out.")
            folder.prove_writable()
    from rrsis_bench.engine.score import test as score_test

    score_test(run, checkpoint, weights, asked, transfer)
    return folders


def _with_checkpoint(request: RunRequest, ckpt: Path | None) -> tuple[ResolvedRun, Path | None]:
    """The run and the checkpoint that `validate` and `test` score; no checkpoint for a zero-shot variant.

    Raises:
        UsageError: neither a run nor a checkpoint is given, the checkpoint does not exist, or a typed value has no
            effect.
    """
    if ckpt is not None and not ckpt.is_file():
        raise UsageError(f"there is no checkpoint {ckpt}.")
    if request.run is None and ckpt is None and not ((request.method or request.files) and resolve(request).zero_shot):
        raise UsageError("name what to score: --run DIR, or --method M --dataset D --ckpt PATH.")
    run = _resolved(request)
    if run.zero_shot and ckpt is None:
        return run, None
    check_scoring(run.typed)
    return run, ckpt if ckpt is not None else RunFolder(request.run or run.folder.path).checkpoint()


def _resolved(request: RunRequest) -> ResolvedRun:
    """Resolve a request, print its notes and look for its data set, all before torch is imported.

    Raises:
        UsageError: see `resolve`.
        MissingResourceError: the data set is not on disk; the message says where to get it.
    """
    from rrsis_bench.data.prepare import locate
    from rrsis_bench.data.sources import create

    run = resolve(request)
    if is_first_process():
        for note in run.notes:
            print(f"rrsis-bench: note: {note}", file=sys.stderr)
    data = run.config["data"]
    if data.get("cache") is not None and is_first_process():
        prove_writable(Path(data["cache"]).expanduser() / "image")
    if data.get("generator"):  # drawn when the training begins; only what reads it can be wrong
        create(data.get("source") or data["dataset"], **(data.get("source_options") or {}))
    else:
        located = locate(data)
        located.source.key_files(located.root)
    return run
