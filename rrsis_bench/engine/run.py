"""`fit`, `validate` and `test`: LightningCLI with fixed classes, our checkpoints, loggers and strategy."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.strategies import DDPStrategy, Strategy

from rrsis_bench import registry
from rrsis_bench.cli._trainer import Plan
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine import report
from rrsis_bench.engine.callbacks import run_callbacks
from rrsis_bench.engine.checkpoint import WholeFileIO, check_identity, read
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.resume import BEST, LAST, LastCheckpoint
from rrsis_bench.engine.task import ReferringSegmentationTask, Scored
from rrsis_bench.errors import UsageError
from rrsis_bench.metrics import protocols
from rrsis_bench.results import gallery, record
from rrsis_bench.results.atomic import write_text
from rrsis_bench.results.provenance import provenance, utc_now
from rrsis_bench.results.tables import print_scores

# What a run may leave in its folder; --overwrite removes these and nothing else.
OWN_FILES = ("result.json", "samples.csv.gz", "gallery.json", "config.yaml", "metrics.csv", "hparams.yaml")


class TrainerCLI(LightningCLI):
    """LightningCLI with the suite's module and data module; YAML holds values only, never class paths.

    Args:
        arguments: words to parse.
        folder: the run folder.
        logger: a further logger by name, or None.
        training: whether checkpoints, progress and logs are wanted.
    """

    model: ReferringSegmentationTask
    datamodule: ReferringDataModule
    trainer: Trainer

    def __init__(self, arguments: list[str], folder: Path, logger: str | None = None, training: bool = False) -> None:
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
        """One key besides `model`, `data`, `trainer` and `seed_everything`."""
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=int,
            default=200,
            help="Optimiser steps between two last.ckpt within an epoch (0: only after each epoch).",
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer with our checkpoint files, loggers, callbacks and, for several processes, DDP."""
        asked = self.config_init["trainer"]
        kwargs["default_root_dir"] = self.folder
        kwargs["plugins"] = [*(asked.get("plugins") or []), WholeFileIO()]
        dead = bool(registry.dead_parameters(self.model.names[0]))
        strategy = _strategy(asked, dead)
        if strategy is not None:
            kwargs["strategy"] = strategy
        if self.training:
            if asked.get("logger") in (None, True):
                kwargs["logger"] = _loggers(self.folder, self.logger_name)
            logs = bool(kwargs.get("logger", asked.get("logger")))
            terminal = sys.stderr.isatty() and asked.get("enable_progress_bar") is not False
            kwargs["enable_progress_bar"] = terminal
            kwargs["callbacks"] = [
                *(asked.get("callbacks") or []),
                *run_callbacks(
                    self.folder, self.model.monitor, int(self.config_init["checkpoint_every_n_steps"]), terminal, logs
                ),
            ]
        else:
            kwargs |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return super().instantiate_trainer(**kwargs)

    def before_instantiate_classes(self) -> None:
        """Where a checkpoint follows, put off the base weights: a method that trains wholly needs none."""
        self._pretrained = bool(self.config.model.pretrained)
        self.config.model.pretrained = self._pretrained and self.training

    def after_instantiate_classes(self) -> None:
        """Give the data module the method's input spec and the accumulation that the global batch asks for."""
        self.config.model.pretrained = self._pretrained
        if self._pretrained and not self.training:
            self.model.load_frozen_weights()
        self.datamodule.input_spec = self.model.method.input_spec
        if self.training:
            self.trainer.accumulate_grad_batches = accumulation(
                self.datamodule.batch_size,
                self.datamodule.global_batch,
                self.trainer.world_size,
                self.trainer.accumulate_grad_batches,
            )

    def config_text(self) -> str:
        """The resolved configuration as YAML."""
        return str(self.parser.dump(self.config, skip_none=False))


def accumulation(batch_size: int, global_batch: int | None, processes: int, configured: int) -> int:
    """Batches per optimiser step, so that a step sees `global_batch` samples over all processes.

    Raises:
        UsageError: the global batch is no multiple of what the processes see at once, or both are configured.
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
    """DDP that synchronises no buffers in forward passes, so that evaluation of uneven shards cannot hang.

    Args:
        asked: the trainer's configuration.
        dead: the method's card names trainable parameters that get no gradient; without a search for them each process
            would wait for theirs.
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
        start_method="spawn" if "spawn" in name else "popen",
    )


def _loggers(folder: Path, further: str | None) -> list[Logger]:
    """CSV always, TensorBoard where it is installed, Weights & Biases only when asked for."""
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
    """Keep Lightning's hints off the screen; errors and warnings about the run itself stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*exists and is not empty.*",
        ".*does not have many workers.*",
        ".*module\\(s\\) in eval mode.*",
        ".*epoch parameter in `scheduler.step\\(\\)`.*",
        ".*is smaller than the logging interval.*",
        ".*Consider setting `persistent_workers=True`.*",
        ".*pin_memory.*no accelerator is found.*",
        ".*treespec, LeafSpec.*",
        ".*`srun` command is available.*",  # processes are started without it where it did not start this one
        # What follows is on purpose for a method without trainable parameters.
        ".*`training_step` returned `None`.*",
        ".*`LightningModule.configure_optimizers` returned `None`.*",
        ".*LearningRateMonitor.*no learning rate schedulers.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def _cli(plan: Plan, training: bool = False) -> TrainerCLI:
    """Parse and build everything; nothing has touched the run folder yet."""
    _quiet()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.yaml"
        merged.write_text(yaml.safe_dump(plan.config), encoding="utf-8")
        files = [word for file in (merged, *plan.files) for word in ("--config", str(file))]
        try:
            return TrainerCLI([*files, *plan.flags], plan.folder, plan.logger, training)
        except ArgumentError as error:
            raise UsageError(" ".join(str(error).replace(str(merged), "the configuration").split())) from error


def print_help() -> int:
    """Print LightningCLI's own help."""
    TrainerCLI(["--help"], Path("."))
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit with code 1; turn it back."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def fit(plan: Plan, checkpoint: Path | None, keep: bool) -> int:
    """Train, test the checkpoint that was best on val, run the language control, write and print the result.

    Args:
        plan: what to train.
        checkpoint: where to continue from.
        keep: the run folder's files belong to the run that is continued.
    """
    started = utc_now()
    cli = _cli(plan, training=True)
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    if checkpoint is not None:
        check_identity(read(checkpoint), *task.names, task.options, checkpoint)
    if trainer.is_global_zero:
        _prepare_folder(plan.folder, keep)
        write_text(plan.folder / "config.yaml", cli.config_text())
        print(f"training {task.names[0]} ({task.names[1]}) on {data.dataset}; run folder {plan.folder}", flush=True)
    with _interruptible():
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    checkpoints = plan.folder / "checkpoints"
    best = checkpoints / BEST
    selected_on = data.select_on if best.is_file() else "none"
    chosen = best if best.is_file() else checkpoints / LAST
    clocks = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
    training = report.training_block(task, trainer, sum(clock.trained_seconds() for clock in clocks))
    trainer.strategy.barrier()
    return _score(cli, plan, chosen, selected_on, training, started, kind="retrained")


def validate(plan: Plan, checkpoint: Path) -> int:
    """Score a checkpoint on val and print the table."""
    cli = _cli(plan)
    with _interruptible():
        cli.trainer.validate(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    if cli.trainer.is_global_zero:
        name = cli.model.protocols[0].name
        print_scores(f"{cli.datamodule.dataset} val", {name: cli.model.latest_scores})
    return 0


def test(plan: Plan, checkpoint: Path | None, weights: str | None) -> int:
    """Score a checkpoint, or a paper's own weights, on test; write and print the result."""
    started = utc_now()
    cli = _cli(plan)
    kind, selected_on, training = "retrained", "none", None
    if checkpoint is not None:
        # The best checkpoint was written in the middle of the training; the last one beside it knows all of it.
        last = checkpoint.with_name(LAST)
        training = read(last if last.is_file() else checkpoint).get("training")
        selected_on = cli.datamodule.select_on if checkpoint.name == BEST else "none"
    if weights is not None:
        kind = "official-weights"
        # A method's official variant says where its authors chose on test.
        selected_on = "test" if cli.datamodule.select_on == "test" else "none"
        _load_official(cli.model, weights)
    return _score(cli, plan, checkpoint, selected_on, training, started, kind)


def _load_official(task: ReferringSegmentationTask, weights: str) -> None:
    name = task.names[0]
    load = getattr(task.method, "load_official", None)
    if load is None:
        raise UsageError(f"{name} cannot load official weights: none were released in a form it reads.")
    if weights == "official":
        raise UsageError(
            f"the official weights of {name} have no address a program may fetch them from; get the file by hand "
            f"(rrsis-bench methods show {name} says where) and name it: --weights FILE."
        )
    if not Path(weights).is_file():
        raise UsageError(f"--weights: there is no file {weights}.")
    load(Path(weights))


def _score(
    cli: TrainerCLI,
    plan: Plan,
    checkpoint: Path | None,
    selected_on: str,
    training: dict[str, Any] | None,
    started: str,
    kind: str,
) -> int:
    """Test, control, write, print."""
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    task.gallery = GalleryKeeper(data.dataset)
    true = _test(cli, checkpoint)
    shown, task.gallery = task.gallery.gathered(), None
    data.permute_expressions = True
    permuted = _test(cli, None)
    data.permute_expressions = False
    if not trainer.is_global_zero:
        return 0
    data.setup("test")
    spec = task.method.input_spec
    table, control = (report.sample_table(scored, data.test_dataset, spec) for scored in (true, permuted))
    names = [protocol.name for protocol in task.protocols]
    configured = cli.config["data"]
    synthetic = configured.get("generator") is not None
    text = cli.config_text()
    result = record.build_result(
        kind="smoke" if synthetic else kind,
        method=report.method_block(task),
        dataset=report.dataset_block(configured, data, synthetic),
        samples=table,
        protocols=names,
        selected_on=selected_on,
        training=training,
        efficiency=report.costs(task, trainer),
        language_control=record.language_control(table, control, names[0]),
        provenance=provenance(config_yaml=text, started=started, gpus=report.gpu_names(trainer)),
    )
    if shown:
        gallery.write(plan.folder, shown)
    record.write_run(plan.folder, result, table, text)
    print_scores(f"{data.dataset} test", {name: true.of(protocols.get(name)) for name in names})
    _print_end(plan, result, synthetic)
    return 0


def _test(cli: TrainerCLI, checkpoint: Path | None) -> Scored:
    with _interruptible():
        cli.trainer.test(cli.model, cli.datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    assert cli.model.scored is not None
    return cli.model.scored


def _print_end(plan: Plan, result: dict[str, Any], synthetic: bool) -> None:
    control = result["language_control"]
    ratio = control["oiou_ratio"]
    share = "" if ratio is None else f" ({ratio:.2f} of the score: a method that reads falls far below 1)"
    print(f"with permuted expressions: oIoU {100 * control['oiou']:.2f}{share}")
    print(f"files: {plan.folder}/ (result.json, samples.csv.gz, config.yaml, checkpoints/, metrics.csv)")
    if synthetic:
        print(
            f"this was the synthetic split; on real data: rrsis-bench fit --method {result['method']['name']} "
            "--dataset rrsisd (rrsis-bench data list says where to get it)"
        )


def _prepare_folder(folder: Path, keep: bool) -> None:
    """Clear an old run's own files, or set the metrics of a continued run aside, which the logger would delete."""
    metrics = folder / "metrics.csv"
    if keep:
        if metrics.is_file():
            k = 1 + len(list(folder.glob("metrics-before-resume-*.csv")))
            metrics.rename(folder / f"metrics-before-resume-{k}.csv")
        return
    old = [folder / name for name in OWN_FILES]
    old += [*folder.glob("metrics-before-resume-*.csv"), *(folder / "checkpoints").glob("*.ckpt")]
    old += [*(folder / "tensorboard").glob("events.out.tfevents.*")]
    for path in old:
        path.unlink(missing_ok=True)
