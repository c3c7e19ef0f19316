"""Exact resume: what a checkpoint must hold besides weights, when it is written, and how a signal ends a run.

A run that is killed in the middle of an epoch continues at the next sample with the same random numbers, so that on a
CPU it ends with the very weights of an uninterrupted run. For that, `last.ckpt` is written only between optimiser
steps: every so many of them, and after each epoch's validation.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from rrsis_bench.engine.report import training_block
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UserError


class Interrupted(UserError):
    """A signal ended the run after it was saved. Exit code 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def random_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's generators, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": (version, list(words), gauss),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to what `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class ExactResume(Callback):
    """Puts each process's random state and the training loader's position into checkpoints, and takes them up again.

    The loader makes its iterator at the first batch, so its position is set when training starts; the random state
    is set when that first batch has arrived, since nothing may draw from it in between.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add `resume` to the checkpoint; every process takes part."""
        states: list[Any] = [random_state()]
        if trainer.world_size > 1:
            states = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, random_state())
        loader = trainer.train_dataloader
        checkpoint["resume"] = {
            "random": states,
            "loader": loader.state_dict() if loader is not None else None,
            "world_size": trainer.world_size,
            "accumulate": trainer.accumulate_grad_batches,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember what to restore once training starts.

        Raises:
            UserError: the run was made with another number of processes or another accumulation.
        """
        if trainer.state.fn != "fit":
            return
        saved = checkpoint["resume"]
        for name, now in (("world_size", trainer.world_size), ("accumulate", trainer.accumulate_grad_batches)):
            if saved[name] != now:
                words = {"world_size": "processes", "accumulate": "accumulated batches per step"}[name]
                raise UserError(
                    f"cannot resume exactly from {trainer.ckpt_path}: it was trained with {saved[name]} {words}, "
                    f"now there are {now}; use the same number, or start anew with --overwrite."
                )
        self._pending = saved

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the training loader to where the saved run was."""
        if self._pending is not None and self._pending["loader"] is not None:
            loader = trainer.train_dataloader
            assert loader is not None
            loader.load_state_dict(self._pending["loader"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the random state as the first batch after a resume begins."""
        if self._pending is not None:
            restore_random_state(self._pending["random"][trainer.global_rank])
            self._pending = None


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` every `every_n_steps` optimiser steps, after each validation, and when it is asked to stop.

    Ctrl-C asks for that, and SIGTERM, a scheduler's way to stop a job.

    It also keeps the training time over resumes.

    Args:
        path: where `last.ckpt` goes.
        every_n_steps: optimiser steps between two writes within an epoch; 0 for none.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self.seconds = 0.0
        self._since = 0.0
        self._saved_at = -1
        self._asked: int | None = None
        self._handlers: dict[int, Any] = {}

    def trained_seconds(self) -> float:
        """Time trained so far, in seconds, over all resumes."""
        return self.seconds + (time.monotonic() - self._since if self._since else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The seconds trained so far."""
        return {"seconds": self.trained_seconds()}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add `training`: how the weights came about, for a later test of them."""
        assert isinstance(pl_module, ReferringSegmentationTask)
        checkpoint["training"] = training_block(pl_module, trainer, self.trained_seconds())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting from a saved run's seconds."""
        self.seconds = float(state_dict["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and take over Ctrl-C and SIGTERM."""
        self._since = time.monotonic()
        self._saved_at = trainer.global_step
        self._asked = None
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not in the main thread: whoever runs us handles signals.
            with contextlib.suppress(ValueError):
                self._handlers[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self._asked = number
        print("\nstopping at the end of this step; the same signal again stops at once", file=sys.stderr, flush=True)

    def _stop_wanted(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self._asked is not None
        # All processes must agree; asking at every step would make each wait for the slowest.
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return bool(trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False))

    def _save(self, trainer: Trainer, task: LightningModule) -> None:
        assert isinstance(task, ReferringSegmentationTask)
        task.watch.means()  # weights that became NaN must not replace sound ones
        task.choosing = False
        try:
            trainer.save_checkpoint(self.path)
        finally:
            task.choosing = True
        self._saved_at = trainer.global_step

    def _save_and_stop(self, trainer: Trainer, task: LightningModule) -> None:
        if self._saved_at != trainer.global_step:
            self._save(trainer, task)
        raise Interrupted(
            f"interrupted after step {trainer.global_step}; everything is saved in {self.path}. "
            "Continue with the same command and --resume auto.",
            self._asked or signal.SIGINT,  # another process of the run may be the one that was asked
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save between two optimiser steps. The epoch's last step is saved after its validation instead."""
        step = trainer.global_step
        if step == self._saved_at or trainer.is_last_batch:
            return
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self._stop_wanted(trainer):
            self._save_and_stop(trainer, pl_module)
        if self.every_n_steps and step % self.every_n_steps == 0:
            self._save(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the losses of the steps since the last look, before a score is made of a broken network."""
        if isinstance(pl_module, ReferringSegmentationTask) and trainer.state.fn == "fit":
            pl_module.watch.means()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch and its validation."""
        self._save(trainer, pl_module)
        if self._stop_wanted(trainer) or (self._asked is not None and trainer.world_size == 1):
            self._save_and_stop(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds = self.trained_seconds()
        self._since = 0.0

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give Ctrl-C and SIGTERM back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
