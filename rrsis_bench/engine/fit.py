"""`fit`: train a resolved run, then score it. The run folder is touched once the first step's losses are known."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from rrsis_bench.config import Config
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine import report
from rrsis_bench.engine.checkpoint import ENTRY
from rrsis_bench.engine.resume import LastCheckpoint, interruptible
from rrsis_bench.engine.score import score
from rrsis_bench.engine.touch import FirstLosses, start_logging
from rrsis_bench.engine.trainer import build_cli, plain_refusals
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.results.provenance import Start
from rrsis_bench.run.differences import changes
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.resolve import ResolvedRun


def fit(run: ResolvedRun, checkpoint: Path | None, overwrite: bool = False, accept_changes: bool = False) -> int:
    """Train, test the checkpoint that was best on val, run the language control, write and print the result.

    Args:
        run: the resolved run to train.
        checkpoint: checkpoint to continue from; None to start anew.
        overwrite: move a run that the folder holds aside.
        accept_changes: continue even if data or settings have changed since the run began; the result lists them.
    """
    started = Start()
    cli, folder = build_cli(run, training=True), run.folder
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    config = yaml.safe_load(cli.config_text())
    task.origin = {"run": uuid.uuid4().hex, "config": config, "accepted_changes": []}
    if checkpoint is not None:
        content = task.read_checkpoint(checkpoint)
        data.prepare_data()
        task.origin |= _continued(content, checkpoint, config, data.identity(), accept_changes)
    with ExitStack() as held:

        def claim() -> None:
            if trainer.training:
                _check_test(trainer, data)
            if trainer.is_global_zero:
                held.enter_context(folder.hold())
                _prepare_folder(folder, checkpoint is not None and folder.owns(checkpoint), overwrite)
                folder.write_config(cli.config_text())
            start_logging(trainer)

        first = FirstLosses(claim)
        trainer.callbacks.insert(0, first)  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            print(f"training {task.method_name} ({task.variant}) on {data.dataset}; run folder {folder}", flush=True)
        again = "continue with the same command and --resume auto."
        with interruptible(f"if {folder.last} exists, it holds the training so far; {again}"), plain_refusals():
            trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
        first.once()  # a continued run may have no step left
        clocks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
        training = report.training_block(task, trainer, sum(clock.trained_seconds() for clock in clocks))
        trainer.strategy.barrier()
        selected_on = data.select_on if folder.best.is_file() else "none"
        with interruptible(f"the training is done; {again}"):
            return score(cli, folder, folder.checkpoint(), selected_on, training, started, kind="retrained")


def _continued(
    content: dict[str, Any], checkpoint: Path, config: Config, data: dict[str, Any], accept: bool
) -> dict[str, Any]:
    """Entries for the checkpoints of a continued run: the run's id, and all changes that the user accepted.

    Raises:
        UserError: data or settings have changed since the run began, and the user has not accepted it.
    """
    entry = content[ENTRY]
    folder = RunFolder(checkpoint.resolve().parent.parent)
    begun = entry.get("config") or (folder.config() if folder.config_path.is_file() else None)
    found = [] if begun is None else changes(begun, config)
    trained = entry.get("data") or {}
    # A checkpoint of an earlier version says less of its data: what it lacks cannot differ.
    if trained != {key: value for key, value in data.items() if key in trained}:
        found.append("data: the samples of the data set have changed")
    if found and not accept:
        raise UserError(
            f"cannot continue {checkpoint}: since the run began, this has changed: {'; '.join(found)}. Undo it, start "
            "anew with --overwrite, or continue with --accept-changes; then no board shows the result."
        )
    for change in found:
        print(f"rrsis-bench: note: continued with another setting: {change}", file=sys.stderr)
    earlier = list(entry.get("accepted_changes") or [])
    return {"run": entry.get("run"), "accepted_changes": earlier + [one for one in found if one not in earlier]}


def _check_test(trainer: Trainer, data: ReferringDataModule) -> None:
    """Refuse before the training what would refuse the test after it.

    Raises:
        MissingResourceError: the test split has no sample.
        UsageError: `trainer.limit_test_batches` leaves no batch.
    """
    batches, share = len(data.test_dataloader()), trainer.limit_test_batches
    if isinstance(share, float) and int(share * batches) == 0:
        raise UsageError(
            f"trainer.limit_test_batches={share:g} leaves none of the {batches} batches of the test split; give at "
            f"least {1 / batches:.3g}, or a number of batches."
        )


def _prepare_folder(folder: RunFolder, continued: bool, overwrite: bool) -> None:
    """Mark the folder as ours, and move an old run aside, or the `metrics.csv` of the run that continues there."""
    folder.check_usable()
    if not continued and not overwrite:
        folder.check_empty()  # once more: another process may have used the folder until we locked it
    if continued or not overwrite:
        folder.keep_metrics()
    elif (target := folder.set_aside()) is not None:
        print(f"moved the run that was in {folder} to {target}", flush=True)
    folder.claim()
