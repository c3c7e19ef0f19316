"""Exact resume: the state that a checkpoint holds besides weights, when it is written, and how a signal ends a run.

A run that was killed in the middle of an epoch continues at the next sample, with the same random numbers. On a CPU it
ends with the same weights, bit for bit, as an uninterrupted run. To make this possible, `last.ckpt` is written between
optimiser steps only: after a fixed number of steps, and after each epoch's validation.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def interruptible(hint: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM (by which schedulers stop jobs) into `Interrupted`, with exit code 130 or 143.

    Without this block, Lightning turns Ctrl-C into an exit with code 1.

    Args:
        hint: clause that tells the user how to go on.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    earlier = None
    with contextlib.suppress(ValueError):  # outside the main thread, the calling program handles signals
        earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {hint}", signal.SIGINT) from error
    except SystemExit as error:
        number = signal.SIGTERM if error.code == 128 + signal.SIGTERM else signal.SIGINT
        raise Interrupted(f"interrupted; {hint}", number) from error
    finally:
        if earlier is not None:
            signal.signal(signal.SIGTERM, earlier)


def random_state() -> dict[str, Any]:
    """The states of the random generators of Python, numpy and torch, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": (version, list(words), gauss),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to the states that `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class ExactResume(Callback):
    """Saves each process's random state and the training loader's position in checkpoints, and restores them.

    The loader makes its iterator at the first batch: its position is restored when training starts. The random state is
    restored when that first batch has arrived, so that loading it draws no random numbers from the restored state.
    """

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the entry `resume` to the checkpoint. Every process must call this."""
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
        """Store the state to restore when training starts.

        Raises:
            UserError: the run was trained with another number of processes, or another accumulation.
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
        """Set the training loader to the position of the saved run."""
        if self._pending is not None and self._pending["loader"] is not None:
            loader = trainer.train_dataloader
            assert loader is not None
            loader.load_state_dict(self._pending["loader"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the random state before the first batch after a resume."""
        if self._pending is not None:
            restore_random_state(self._pending["random"][trainer.global_rank])
            self._pending = None


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt`, and measures the training time over all resumes.

    It writes every `every_n_steps` optimiser steps, after each epoch, and when Ctrl-C or SIGTERM stops the run.
    Schedulers stop jobs by SIGTERM.

    Args:
        path: file to write.
        every_n_steps: optimiser steps between two writes within an epoch; 0 to write after epochs only.
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
        """Training time so far over all resumes, in seconds."""
        return self.seconds + (time.monotonic() - self._since if self._since else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The training time so far, for the checkpoint."""
        return {"seconds": self.trained_seconds()}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the entry `training`, which a later test copies into the result."""
        assert isinstance(pl_module, ReferringSegmentationTask)
        checkpoint["training"] = training_block(pl_module, trainer, self.trained_seconds())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved run's training time."""
        self.seconds = float(state_dict["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and install handlers for Ctrl-C and SIGTERM."""
        self._since = time.monotonic()
        self._saved_at = trainer.global_step
        self._asked = None
        for number in (signal.SIGINT, signal.SIGTERM):
            # Outside the main thread, the calling program handles signals.
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
        # All processes must agree. At every step, agreeing would make each one wait for the slowest.
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return bool(trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False))

    def _save(self, trainer: Trainer, task: LightningModule) -> None:
        assert isinstance(task, ReferringSegmentationTask)
        task.watch.means()  # raises an error if a loss is NaN: then the earlier checkpoint stays
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
            self._asked or signal.SIGINT,  # None if another process of the run got the signal
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save between two optimiser steps; after the epoch's last step, `on_train_epoch_end` saves."""
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
        """Raise an error if a loss was NaN or infinite: validation must not score a broken network."""
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
        """Restore the earlier handlers of Ctrl-C and SIGTERM.

        Lightning has restored some by now. Ours replaced its own handler of these, which would keep the trainer alive.
        """
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._ask:
                signal.signal(number, handler)
        self._handlers.clear()
