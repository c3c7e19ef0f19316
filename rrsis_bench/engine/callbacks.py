"""Shows the progress of a run: one line per epoch, and on a terminal a rich progress bar."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar

from rrsis_bench.engine.resume import ExactResume, LastCheckpoint
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.metrics.definitions import shown
from rrsis_bench.run.folder import RunFolder


class Bar(RichProgressBar):
    """Lightning's rich progress bar. It shows values that the host already has, and never waits for the device.

    It counts epochs from 1, as `Lines` does, and says whether a test is the language control.
    """

    @property
    def test_description(self) -> str:
        """What is tested."""
        data = getattr(self.trainer, "datamodule", None)
        return "Language control" if getattr(data, "language_control", False) else "Test"

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The last logged loss, and the headline metrics of the last validation in percent."""
        if not isinstance(pl_module, ReferringSegmentationTask):
            return {}
        found: dict[str, int | str | float | dict[str, float]] = {}
        if "loss" in pl_module.latest:
            found["loss"] = f"{pl_module.latest['loss']:.3f}"
        for metric in shown("headline", pl_module.protocols[0]):
            if metric.name in pl_module.latest_scores:
                found[metric.name] = f"{100 * pl_module.latest_scores[metric.name]:.2f}"
        return found


class Lines(Callback):
    """Prints one line per epoch. On a terminal, it stays above the progress bar."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the time."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch, its loss, the validation scores and the time."""
        if not isinstance(pl_module, ReferringSegmentationTask) or not trainer.is_global_zero:
            return
        words = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", f"step {trainer.global_step}"]
        if "loss" in pl_module.latest:
            words.append(f"loss {pl_module.latest['loss']:.4f}")
        words += [
            f"val/{metric.name} {100 * pl_module.latest_scores[metric.name]:.2f}"
            for metric in shown("headline", pl_module.protocols[0])
            if metric.name in pl_module.latest_scores
        ]
        words.append(f"{time.monotonic() - self._started:.0f} s")
        print("  ".join(words), flush=True)


class Rates(LearningRateMonitor):
    """Logs learning rates after a step's losses: at the first step, the logger's files are not made before them."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """Log the rates of the step, which has not changed them yet."""
        super().on_train_batch_start(trainer)


def run_callbacks(folder: RunFolder, monitor: str, checkpoint_every: int, terminal: bool, logs: bool) -> list[Any]:
    """The callbacks of a training run.

    Args:
        folder: the run folder.
        monitor: metric that chooses `best.ckpt`, without the prefix `val/`.
        checkpoint_every: optimiser steps between two writes of `last.ckpt` within an epoch.
        terminal: show a progress bar below the lines.
        logs: log learning rates; the run must have a logger.
    """
    best = ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename=folder.best.stem,
        monitor=f"val/{monitor}",
        mode="max",
        save_top_k=1,
        auto_insert_metric_name=False,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    last = LastCheckpoint(folder.last, checkpoint_every)
    rates = [Rates(logging_interval="step")] if logs else []
    return [ExactResume(), *rates, *([Bar(leave=False)] if terminal else []), Lines(), best, last]
