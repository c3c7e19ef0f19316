"""The verbs from Python: `rrsis_bench.fit(method="s4eca", seed=1)` is `rrsis-bench fit --method s4eca --seed 1`.

A function raises `rrsis_bench.errors.UserError` where the command line prints one line. The functions import torch when
they need it, after they have checked their arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrsis_bench.errors import DriftError, UsageError
from rrsis_bench.run.request import RunRequest
from rrsis_bench.verbs import fit_run, test_run

if TYPE_CHECKING:
    from rrsis_bench.engine.predict import Predicted


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
    detail: bool = False,
) -> dict[str, Any]:
    """Train a method, test its best checkpoint, write the result.

    Args:
        method: registry name; None if a file of `config` names the method.
        dataset: name of the data set; None for `tiny`.
        variant: name of the method's variant; None for the data set's default.
        trainer: name of the trainer preset; None for one device of any kind.
        recipe: name of the method's recipe; None for the variant's default.
        protocol: name of the protocol that chooses the checkpoint; None for the recipe's, or `native-v1`.
        seed: seed of all random numbers; None for 0.
        config: the user's own configuration files; a later file wins over an earlier one.
        values: configuration values by dotted key, such as `{"trainer.max_epochs": 5}`.
        out: run folder; None for the usual one.
        logger: `wandb` to log to it besides CSV and TensorBoard.
        resume: `auto` to continue from the folder's last checkpoint, or the checkpoint to continue from.
        overwrite: move a run that the folder holds aside, and start anew.
        accept_changes: continue even if data or settings have changed since the run began.
        detail: store the samples' detail, too, for `rrsis-bench results explain`.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: whatever error `rrsis-bench fit` would print.
    """
    names = (method, dataset, variant, trainer, recipe, protocol)
    request = RunRequest(*names, seed, _paths(config), values or {}, out=_path(out), logger=logger, detail=detail)
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
    detail: bool = False,
    perturb: str | None = None,
    exclude_overlap: Path | str | None = None,
) -> dict[str, Any]:
    """Score a checkpoint on the test split and write the result.

    Args:
        run: run folder of `fit`; None if `ckpt` or `weights` names the checkpoint, or for a zero-shot variant.
        method: registry name; None for the run's.
        dataset: name of the data set; None for the run's, else `tiny`. With `run`, another data set than its own gives
            a result in `on/<dataset>` under the run folder.
        variant: name of the method's variant; None for the run's, else the data set's default.
        trainer: name of the trainer preset.
        recipe: name of the method's recipe.
        protocol: name of the protocol that stands first in the result.
        seed: seed of all random numbers.
        config: the user's own configuration files.
        values: configuration values by dotted key.
        ckpt: a checkpoint; None for the run's best.
        weights: `official`, or the file of a paper's own checkpoint, to score in place of one of this suite.
        out: folder for the result; None for the run folder. `weights` needs it.
        overwrite: replace a result that the folder holds.
        detail: store the samples' detail, too, for `rrsis-bench results explain`.
        perturb: `NAME` or `NAME:SEVERITY` of a perturbation (`rrsis-bench data perturbations`); the result then lies in
            `perturb/<name>-<severity>` under the run folder.
        exclude_overlap: a list of `rrsis-bench data overlap`; test images with a twin in the training are left out.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: whatever error `rrsis-bench test` would print.
    """
    names = (method, dataset, variant, trainer, recipe, protocol)
    request = RunRequest(*names, seed, _paths(config), values or {}, _path(run), _path(out), detail=detail)
    named = () if perturb is None else (perturb,)
    weights = None if weights is None else str(weights)
    (folder,) = test_run(request, _path(ckpt), weights, overwrite, named, _path(exclude_overlap))
    return folder.result()


def predict(
    run: Path | str,
    image: Path | str | Sequence[Path | str],
    text: str | Sequence[str],
    *,
    out: Path | str | None = None,
    ckpt: Path | str | None = None,
    device: str = "auto",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    bands: str | None = None,
    stretch: str | None = None,
    plain: bool = False,
    overwrite: bool = False,
) -> list[Predicted]:
    """Segment what each expression refers to in each image, and write mask, overlay and report. Loads the run once.

    Args:
        run: run folder of `fit`.
        image: PNG, JPEG, TIFF, or GeoTIFF, a folder of them, or a pattern such as `scenes/*.tif`; one or several.
        text: the expression; one or several.
        out: folder to write to; None for `predictions`.
        ckpt: a checkpoint; None for the run's best.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        tile: an image whose longer side exceeds this number of pixels is cut into tiles; None for twice the input size.
        overlap: share of a tile's side by which neighbouring tiles overlap.
        batch_size: tiles in a batch; expressions, for an image of one tile.
        bands: red, green and blue band of a GeoTIFF, counted from 1 (`4,3,2`); None for the run's, or the file's.
        stretch: values that become black and white in images deeper than 8 bits; None for the run's.
        plain: treat a georeferenced file as an ordinary image.
        overwrite: replace earlier predictions of the same image and expression.

    Returns:
        each prediction and the files it was written to.
    """
    from rrsis_bench.engine.predict import predict_files

    texts = [text] if isinstance(text, str) else list(text)
    made = predict_files(
        Path(run), _paths(image), texts, _path(out) or Path("predictions"), checkpoint=_path(ckpt), device=device,
        tile=tile, overlap=overlap, batch_size=batch_size, bands=bands, stretch=stretch, plain=plain,
        overwrite=overwrite,
    )  # fmt: skip
    return list(made)


def leaderboard(
    board: str | None = None,
    *,
    format: Sequence[str] | None = None,
    results: Path | str = "results",
    out: Path | str | None = None,
    check: bool = False,
) -> list[Path]:
    """Make the boards from the result files.

    Args:
        board: name of the only board to make; None for all.
        format: some of `md`, `csv`, `json`, `tex`, `html`, `svg`; None for all.
        results: folder of results.
        out: folder to write to; None for `<results>/leaderboard`.
        check: write nothing, and compare the files with what the results give.

    Returns:
        the files written.

    Raises:
        DriftError: with `check`, a file is not up to date.
        UserError: a board is unknown, or a file cannot be written.
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
    **details: Any,
) -> dict[str, Any]:
    """Score predictions of any framework: `rrsis-bench results score`.

    Args:
        predictions: a JSONL file of COCO RLE, a folder of PNG masks, or sample id -> mask (H, W) or RLE.
        dataset: name of the data set.
        method: name of the method, as boards shall show it.
        split: name of the split.
        data: values of the `data` block to override, such as `root`.
        out: run folder; None for the usual one.
        overwrite: replace a result that the folder holds.
        details: further facts on the method: `variant`, `seed`, `selected_on`, `about` (title, venue, year, encoders,
            url), `parameters`, `trainable_parameters`.

    Returns:
        the content of `result.json`.

    Raises:
        UserError: see `results.external.score_predictions`; a `PredictionError` lists its `problems`.
    """
    from rrsis_bench.results.external import External, score_predictions

    external = External(method, **details)
    return score_predictions(predictions, dataset, external, split, data, out, overwrite).result()


def _path(value: Path | str | None) -> Path | None:
    if value is not None and not str(value).strip():
        raise UsageError("the name of a folder or file is empty.")
    return None if value is None else Path(value)


def _paths(value: Path | str | Sequence[Path | str]) -> tuple[Path, ...]:
    return (Path(value),) if isinstance(value, Path | str) else tuple(map(Path, value))


__all__ = ["RunRequest", "fit", "leaderboard", "predict", "score", "test"]
