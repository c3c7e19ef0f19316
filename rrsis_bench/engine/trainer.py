"""LightningCLI with the suite's module, data module, checkpoints, loggers and strategy."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy

from rrsis_bench import registry
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.engine.callbacks import run_callbacks
from rrsis_bench.engine.checkpoint import WholeFileIO
from rrsis_bench.engine.device import check_devices
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.engine.touch import WaitingLogger
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.build import check_able
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.resolve import ResolvedRun

_OF_OPTIMISER = ("model.optimizer.", "model.schedule.", "trainer.gradient_clip_", "trainer.accumulate_grad_batches")


class TrainerCLI(LightningCLI):
    """LightningCLI with the suite's module and data module. A configuration holds values only, no class paths.

    Args:
        arguments: the resolved configuration, or words for LightningCLI's own parser.
        folder: the run folder.
        logger: name of a further logger, or None.
        training: write checkpoints and logs, and show progress.
    """

    model: ReferringSegmentationTask
    datamodule: ReferringDataModule
    trainer: Trainer
    detail = False  # whether a test stores the samples' detail

    def __init__(
        self,
        arguments: dict[str, Any] | list[str],
        folder: RunFolder,
        logger: str | None = None,
        training: bool = False,
    ) -> None:
        self.folder, self.logger_name, self.training = folder, logger, training
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                ReferringSegmentationTask,
                ReferringDataModule,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={"exit_on_error": False},
                args=arguments,
                run=False,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Declare `checkpoint_every_n_steps`, beside `model`, `data`, `trainer` and `seed_everything`."""
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=int,
            default=200,
            help="Optimiser steps between two writes of last.ckpt within an epoch (0: only after each epoch).",
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the Trainer with the suite's checkpoint files, loggers, callbacks and, for several processes, DDP."""
        asked = self.config_init["trainer"]
        kwargs["default_root_dir"] = self.folder.path
        kwargs["plugins"] = [*(asked.get("plugins") or []), WholeFileIO()]
        dead = bool(registry.dead_parameters(self.model.method_name))
        strategy = _strategy(asked, dead)
        if strategy is not None:
            kwargs["strategy"] = strategy
        if self.training:
            if asked.get("logger") in (None, True):
                kwargs["logger"] = _loggers(self.folder.path, self.logger_name)
            logs = bool(kwargs.get("logger", asked.get("logger")))
            terminal = sys.stdout.isatty() and asked.get("enable_progress_bar") is not False
            kwargs["enable_progress_bar"] = terminal
            kwargs["callbacks"] = [
                *(asked.get("callbacks") or []),
                *run_callbacks(
                    self.folder, self.model.monitor, int(self.config_init["checkpoint_every_n_steps"]), terminal, logs
                ),
            ]
        else:
            kwargs |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        with plain_refusals(ModuleNotFoundError, TypeError, ValueError):
            trainer = super().instantiate_trainer(**kwargs)
        if self.training:
            trainer.loggers = [WaitingLogger(one) for one in trainer.loggers]
        return trainer

    def before_instantiate_classes(self) -> None:
        """Build the method without base weights unless it is to be trained: a checkpoint will replace them."""
        self._pretrained = bool(self.config.model.pretrained)
        self.config.model.pretrained = self._pretrained and self.training

    def after_instantiate_classes(self) -> None:
        """Load frozen base weights, give the data module the method's input, and set the accumulation."""
        self.config.model.pretrained = self._pretrained
        if self._pretrained and not self.training:
            self.model.load_frozen_weights()
        method, data = self.model.method, self.datamodule
        data.input_spec, data.shares_images = method.input_spec, method.shares_images
        if data.expressions_per_image is not None and not data.shares_images:
            raise UsageError(
                f"data.expressions_per_image: {method.name} encodes an image for each expression; leave the option out."
            )
        if self.training:
            load_tokenizer(self.model.method.input_spec)  # an unknown one is refused before anything is written
            self.trainer.accumulate_grad_batches = accumulation(
                self.datamodule.batch_size,
                self.datamodule.global_batch,
                self.trainer.world_size,
                self.trainer.accumulate_grad_batches,
            )

    def config_text(self) -> str:
        """The resolved configuration as YAML."""
        return str(self.parser.dump(self.config, skip_none=False))


@contextmanager
def plain_refusals(*further: type[Exception]) -> Iterator[None]:
    """Turn Lightning's errors on the values of `trainer` into UsageError.

    Args:
        further: types of errors that stem from these values, besides Lightning's own.
    """
    kinds: tuple[type[Exception], ...] = (MisconfigurationException, *further)
    try:
        yield
    except Exception as error:
        # Lightning has no type of its own for an interval of validation that is longer than the epoch.
        interval = isinstance(error, ValueError) and "val_check_interval" in str(error)
        if not (interval or isinstance(error, kinds)):
            raise
        raise UsageError(f"Lightning refuses the values of trainer: {' '.join(str(error).split())}") from error


def accumulation(batch_size: int, global_batch: int | None, processes: int, configured: int) -> int:
    """Number of batches per optimiser step, so that a step uses `global_batch` samples of all processes together.

    Args:
        batch_size: samples per process and batch.
        global_batch: samples per optimiser step; None to use `configured`.
        processes: number of processes.
        configured: `trainer.accumulate_grad_batches`.

    Raises:
        UsageError: the global batch is no multiple of `batch_size` x `processes`, or contradicts `configured`.
    """
    if global_batch is None:
        return configured
    at_once = batch_size * processes
    if configured != 1 and configured * at_once != global_batch:
        raise UsageError("data.global_batch and trainer.accumulate_grad_batches contradict each other; give one.")
    if global_batch % at_once:
        fitting = [size for size in range(1, batch_size + 1) if global_batch % (size * processes) == 0]
        raise UsageError(
            f"data.global_batch={global_batch} is no multiple of data.batch_size={batch_size} x {processes} "
            f"process{'es' if processes > 1 else ''}; "
            + (f"set data.batch_size={fitting[-1]}." if fitting else "use fewer devices or another global batch.")
        )
    return global_batch // at_once


def _strategy(asked: Any, dead: bool) -> Strategy | None:
    """DDP without synchronising buffers in forward passes, so that processes may evaluate different numbers of batches.

    Args:
        asked: the `trainer` block of the configuration.
        dead: the method's card names trainable parameters that get no gradient. DDP must search for them, or each
            process would wait for their gradients.

    Returns:
        the strategy; None to leave the choice to Lightning.
    """
    name, devices = asked.get("strategy", "auto"), asked.get("devices", 1)
    several = str(devices) not in {"1", "[0]", "auto", "-1"} or int(asked.get("num_nodes") or 1) > 1
    all_devices = str(devices) in {"auto", "-1"} and torch.cuda.device_count() > 1 and asked.get("accelerator") != "cpu"
    if not isinstance(name, str) or not (name.startswith("ddp") or (name == "auto" and (several or all_devices))):
        return None
    return DDPStrategy(
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=dead or "find_unused_parameters_true" in name,
    )


def _loggers(folder: Path, further: str | None) -> list[Logger]:
    """The CSV logger, TensorBoard's if it is installed, and that of Weights & Biases if the user names it."""
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if find_spec("tensorboard") is not None:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder, name="", version="tensorboard"))
    if further == "wandb":
        if find_spec("wandb") is None:
            raise UsageError("--logger wandb: the package wandb is not installed; pip install wandb.")
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(save_dir=folder, project="rrsis_bench", name="-".join(folder.parts[-3:])))
    return loggers


def _quiet() -> None:
    """Hide Lightning's hints; errors and warnings about the run itself stay visible."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*exists and is not empty.*",
        ".*does not have many workers.*",
        ".*module\\(s\\) in eval mode.*",
        ".*when using `ckpt_path`, callbacks used to create the checkpoint.*",
        ".*epoch parameter in `scheduler.step\\(\\)`.*",
        ".*is smaller than the logging interval.*",
        ".*Consider setting `persistent_workers=True`.*",
        ".*pin_memory.*no accelerator is found.*",
        ".*treespec, LeafSpec.*",
        ".*`srun` command is available.*",  # Lightning starts the processes itself, unless srun has started this one
        # The next three describe a method without trainable parameters, which is allowed.
        ".*`training_step` returned `None`.*",
        ".*`LightningModule.configure_optimizers` returned `None`.*",
        ".*LearningRateMonitor.*no learning rate schedulers.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def build_cli(run: ResolvedRun, training: bool = False) -> TrainerCLI:
    """Check the configuration's values, and build trainer, module and data module. Writes nothing to the run folder.

    Raises:
        UsageError: a device that is not on this machine, or a value that Lightning or the method refuses.
    """
    _quiet()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if training:
        check_able(run.config["model"]["method"], run.config["model"])
    check_devices(run.config["trainer"])
    try:
        cli = TrainerCLI(_ordered(run.config), run.folder, run.logger, training)
    except ArgumentError as error:
        raise UsageError(_plain(str(error))) from error
    cli.detail = run.detail
    if training and not trainable(cli.model.method.parameters()):
        _refuse_idle(cli.model.method_name, run.typed)
    return cli


def _refuse_idle(name: str, typed: Sequence[str]) -> None:
    """Refuse typed values of optimiser and schedule for a method that has neither."""
    for key in typed:
        if key.startswith(_OF_OPTIMISER):
            raise UsageError(f"--{key} has no effect on {name}, which has no trainable parameters: leave it out.")


def _plain(message: str) -> str:
    """The parser's message without the names of its types."""
    text = " ".join(message.split())
    found = re.search(r'[Kk]ey "([^"]+)"', text)
    if found is None:
        return text
    reason = re.search(r"Problem with given (class_path '[^']*': .*?)(?: - |$)", text)
    return f"{found[1]} cannot have this value{f' ({reason[1]})' if reason else ''}; --help-all shows every key's type."


def _ordered(value: Any) -> Any:
    """A configuration with sorted keys, so that equal runs save equal files."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(entry) for entry in value] if isinstance(value, list | tuple) else value


def print_help() -> None:
    """Print LightningCLI's help, which lists every value of the configuration."""
    TrainerCLI(["--help"], RunFolder(Path(".")))


def print_config(run: ResolvedRun) -> None:
    """Print the whole configuration of a run as `config.yaml` would hold it, with the defaults of the code."""
    print(build_cli(run).config_text(), end="")
