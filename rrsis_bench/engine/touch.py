"""When a training touches its run folder: once the first step's losses are known.

By then Lightning has made loaders, optimiser and schedule, and restored a checkpoint, and the method has computed its
losses: whatever refuses a run's settings has seen them. A refused run leaves an older run in the folder as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor


class FirstLosses(Callback):
    """Calls a function once, when the first training step's losses are known.

    Args:
        act: the function.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def once(self) -> None:
        """Call the function, unless it has been called."""
        act, self.act = self.act, None
        if act is not None:
            act()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Call the function before the first backward pass."""
        self.once()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call the function after the first step of a method that has no backward pass."""
        self.once()


class WaitingLogger(Logger):
    """Stands in for a logger until `start_logging`: Lightning makes the files of a logger before it makes the loaders.

    Args:
        awaited: the logger.
    """

    def __init__(self, awaited: Logger) -> None:
        super().__init__()
        self.awaited = awaited

    @property
    def name(self) -> str | None:
        """Name of the logger."""
        return self.awaited.name

    @property
    def version(self) -> int | str | None:
        """Version of the logger."""
        return self.awaited.version

    @property
    def save_dir(self) -> str | None:
        """The logger's folder."""
        return self.awaited.save_dir

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: the task keeps no hyper-parameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log nothing: there are no metrics before the first step."""


def start_logging(trainer: Trainer) -> None:
    """Give a trainer the loggers in place of those that wait for them."""
    trainer.loggers = [one.awaited if isinstance(one, WaitingLogger) else one for one in trainer.loggers]
