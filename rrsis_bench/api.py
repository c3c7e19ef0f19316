"""The verbs from Python: `rrsis_bench.fit(method="s4eca", seed=1)` is `rrsis-bench fit --method s4eca --seed 1`.

Errors are raised as `rrsis_bench.errors.UserError` instead of printed. Torch is imported once a run really starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rrsis_bench.errors import DriftError, UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import ResolvedRun, resolve


def fit(
    method: str | None = None,
    *,
    dataset: str | None = None,
    variant: str | None = None,
    trainer: str | None = None,
    recipe: str | None = None,
    protocol: str | None = None,
    seed: int | None = None,
    config: Path | str | Sequence[Path | str] = (),
    values: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    logger: str | None = None,
    resume: Path | str | None = None,
    overwrite: bool = False,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Train a method, test its best checkpoint, write the result.

    Args:
        method: registry name; None where a file of `config` names it.
        dataset: data set by name; None for `tiny`.
        variant: of the method; None for the one meant for the data set.
        trainer: trainer preset by name.
        recipe: the method's way of training, by name.
        protocol: the protocol that chooses the checkpoint.
        seed: of everything random; None for 0.
        config: own configuration files.
        values: configuration values by dotted key, such as `{"trainer.max_epochs": 5}`.
        out: run folder; None for the usual one.
        logger: `wandb` to log there too.
        resume: `auto`, or a checkpoint to continue from.
        overwrite: where the folder holds a run, move it aside and start anew.
        accept_changes: continue with other data or settings than the run was begun with.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: whatever the verb would print.
    """
    request = RunRequest(
        method,
        dataset,
        variant,
        trainer,
        recipe,
        protocol,
        seed,
        _paths(config),
        values or {},
        None,
        _path(out),
        logger,
    )
    return fit_run(request, resume, overwrite, accept_changes).result()


def test(
    run: Path | str | None = None,
    *,
    method: str | None = None,
    dataset: str | None = None,
    variant: str | None = None,
    trainer: str | None = None,
    recipe: str | None = None,
    protocol: str | None = None,
    seed: int | None = None,
    config: Path | str | Sequence[Path | str] = (),
    values: Mapping[str, Any] | None = None,
    ckpt: Path | str | None = None,
    weights: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Score a checkpoint on the test split: that of a run, or one given with the names of what it is of.

    Args:
        run: a run folder of `fit`.
        method: registry name, where `run` is not given.
        dataset: data set by name, likewise.
        variant: of the method, likewise.
        trainer: trainer preset by name.
        recipe: the method's way of training, by name.
        protocol: the protocol that stands first in the result.
        seed: of everything random.
        config: own configuration files.
        values: configuration values by dotted key.
        ckpt: a checkpoint; None for the run's best.
        weights: a paper's own checkpoint in place of one of ours.
        out: folder for the result; None for the run's own.
        overwrite: replace a result that is already there.

    Returns:
        the content of `result.json`.
    """
    request = RunRequest(
        method, dataset, variant, trainer, recipe, protocol, seed, _paths(config), values or {}, _path(run), _path(out)
    )
    return test_run(request, _path(ckpt), None if weights is None else str(weights), overwrite).result()


def fit_run(
    request: RunRequest, resume: Path | str | None = None, overwrite: bool = False, accept_changes: bool = False
) -> RunFolder:
    """Train what a request asks for; see `fit`. A finished run is left alone under `resume="auto"`.

    Returns:
        the run's folder.
    """
    run = _resolved(request)
    folder = run.folder
    checkpoint = _resume_from(folder, resume, overwrite)
    if resume == "auto" and folder.is_finished:
        # Every process that torchrun started must end here; those that wait for the others would wait for ever.
        if is_first_process():
            print(f"nothing to do: {folder} holds a finished run.")
        return folder
    with folder.hold() if is_first_process() else nullcontext():
        from rrsis_bench.engine.run import fit as train

        train(run, checkpoint, overwrite, accept_changes)
    return folder


def validate_run(request: RunRequest, ckpt: Path | None = None) -> None:
    """Score a checkpoint on the validation split and print the scores."""
    run, checkpoint = _with_checkpoint(request, ckpt)
    from rrsis_bench.engine.run import validate

    validate(run, checkpoint)


def test_run(
    request: RunRequest, ckpt: Path | None = None, weights: str | None = None, overwrite: bool = False
) -> RunFolder:
    """Score a checkpoint on the test split and write the result; see `test`.

    Returns:
        the folder of the result.
    """
    if weights is None:
        run, checkpoint = _with_checkpoint(request, ckpt)
    else:
        if request.run is not None or ckpt is not None:
            raise UsageError("--weights is scored instead of a run or a checkpoint; leave out --run and --ckpt.")
        if request.out is None:
            raise UsageError("--weights: say where the result goes with --out DIR.")
        run, checkpoint = _resolved(request), None
    if is_first_process():
        run.folder.check_usable()
        if run.folder.is_finished and not overwrite:
            raise UsageError(f"{run.folder} already holds a result; pass --overwrite, or another --out.")
    from rrsis_bench.engine.run import test as score_test

    score_test(run, checkpoint, weights)
    return run.folder


def _with_checkpoint(request: RunRequest, ckpt: Path | None) -> tuple[ResolvedRun, Path]:
    """The run and the checkpoint that `validate` and `test` score.

    Raises:
        UsageError: neither a run nor a checkpoint is given, or there is no such file.
    """
    if request.run is None and ckpt is None:
        raise UsageError("name what to score: --run DIR, or --method M --dataset D --ckpt PATH.")
    if ckpt is not None and not ckpt.is_file():
        raise UsageError(f"there is no checkpoint {ckpt}.")
    run = _resolved(request)
    return run, ckpt if ckpt is not None else RunFolder(request.run or run.folder.path).checkpoint()


def _resolved(request: RunRequest) -> ResolvedRun:
    """A request resolved, its notes printed, its data found: what fails here fails in milliseconds.

    Raises:
        UsageError: see `resolve`.
        MissingResourceError: the data set is not on disk; says where to get it.
    """
    from rrsis_bench.data.prepare import locate

    run = resolve(request)
    if is_first_process():
        for note in run.notes:
            print(f"rrsis-bench: note: {note}", file=sys.stderr)
    if not run.config["data"].get("generator"):
        located = locate(run.config["data"])
        located.source.key_files(located.root)
    return run


def _resume_from(folder: RunFolder, resume: Path | str | None, overwrite: bool) -> Path | None:
    """The checkpoint to continue from, or None to start anew.

    Raises:
        UsageError: the folder is not ours, or holds a run and nothing says what to do with it.
    """
    if not is_first_process():
        return (
            folder.last if resume == "auto" and folder.last.is_file() else _path(None if resume == "auto" else resume)
        )
    folder.check_usable()
    if resume not in {None, "auto"}:
        path = Path(str(resume))
        if not path.is_file():
            raise UsageError(f"--resume: there is no checkpoint {path}.")
        return path
    if resume == "auto":
        if folder.last.is_file():
            return folder.last
        if folder.best.is_file() and not folder.is_finished:
            raise UsageError(
                f"{folder} holds {folder.best.name} but no {folder.last.name} to continue from; start anew with "
                "--overwrite, which moves the old run aside, or choose another --out."
            )
        return None
    if not overwrite:
        if folder.is_finished:
            raise UsageError(
                f"{folder} holds a finished run; start anew with --overwrite, or choose another --seed or --out."
            )
        if folder.last.is_file() or folder.best.is_file():
            raise UsageError(
                f"{folder} holds an unfinished run; continue with --resume auto, or start anew with --overwrite."
            )
    return None


def is_first_process() -> bool:
    """Whether this is the process that reads and writes the run folder; helpers of it start with a rank."""
    if "RANK" in os.environ:  # torchrun
        return int(os.environ["RANK"]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def predict(
    run: Path | str,
    image: Path | str,
    text: str,
    *,
    out: Path | str | None = None,
    ckpt: Path | str | None = None,
    device: str = "auto",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    bands: str | None = None,
    plain: bool = False,
) -> None:
    """Segment what an expression refers to in an image, and write mask, overlay and report.

    Args:
        run: run folder that `fit` wrote.
        image: PNG, JPEG, TIFF, or GeoTIFF.
        text: the expression.
        out: folder to write to; None for `predictions`.
        ckpt: a checkpoint; None for the run's best.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        tile: images with a longer side, in pixels, are cut into tiles; None for twice the input size.
        overlap: share that tiles overlap.
        batch_size: tiles in a batch.
        bands: bands of a GeoTIFF from 1, such as `4,3,2`.
        plain: treat a georeferenced file as an ordinary image.
    """
    from rrsis_bench.engine.device import pick_device
    from rrsis_bench.engine.load import load_run
    from rrsis_bench.engine.predict import predict_file

    chosen = pick_device(device)
    loaded = load_run(RunFolder(Path(run)), chosen, _path(ckpt))
    settings = {"tile": tile, "overlap": overlap, "batch_size": batch_size}
    predict_file(loaded, Path(image), text, Path(out or "predictions"), chosen, bands, plain, **settings)


def leaderboard(
    board: str | None = None,
    *,
    format: Sequence[str] | None = None,
    results: Path | str = "results",
    out: Path | str | None = None,
    check: bool = False,
) -> list[Path]:
    """Make the tables from the result files.

    Args:
        board: only this board; None for all.
        format: some of `md`, `csv`, `json`, `tex`, `html`, `svg`; None for all.
        results: folder of results.
        out: where to write; None for `<results>/leaderboard`.
        check: write nothing, and raise `DriftError` if a file is not up to date.

    Returns:
        the files written.
    """
    from rrsis_bench.boards import leaderboard as tables

    files, _, warnings = tables.outputs(Path(results), board, list(format or tables.FORMATS), _path(out))
    for warning in warnings:
        print(f"rrsis-bench: warning: left out: {warning}", file=sys.stderr)
    if not check:
        return tables.write(files)
    if stale := tables.drifted(files):
        raise DriftError(f"not up to date: {', '.join(map(str, stale))}. Make the tables again and commit them.")
    return []


def score(
    predictions: Path | str | Mapping[str, Any],
    *,
    dataset: str,
    method: str,
    split: str = "test",
    data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    **told: Any,
) -> dict[str, Any]:
    """Score predictions of any framework: `rrsis-bench results score`.

    Args:
        predictions: a JSONL file of COCO RLE, a folder of PNG masks, or sample id -> mask (H, W) or RLE.
        dataset: name of the data set.
        method: name of the row.
        split: name of the split.
        data: values of the `data` block to override, such as `root`.
        out: run folder; None for the usual place.
        overwrite: replace a result that is already there.
        told: what else is known: `variant`, `seed`, `selected_on`, `about` (title, venue, year, encoders, url),
            `parameters`, `trainable_parameters`.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: see `results.external.score_predictions`; a `PredictionError` lists every `problem`.
    """
    from rrsis_bench.results.external import External, score_predictions

    external = External(method, **told)
    return score_predictions(predictions, dataset, external, split, data, out, overwrite).result()


def _path(value: Path | str | None) -> Path | None:
    if value is not None and not str(value).strip():
        raise UsageError("the name of a folder or file is empty.")
    return None if value is None else Path(value)


def _paths(value: Path | str | Sequence[Path | str]) -> tuple[Path, ...]:
    return (Path(value),) if isinstance(value, Path | str) else tuple(map(Path, value))


__all__ = ["RunRequest", "fit", "leaderboard", "predict", "score", "test"]
