"""What the values of a configuration may be: one table, read before anything is built. No torch.

Its keys are the arguments of Lightning's Trainer, the task with its optimiser and schedule, and the data module. They
are named here because those modules need torch, which takes seconds. A method's own options are checked by their
dataclass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from rrsis_bench.config import Config, flat
from rrsis_bench.data.catalogue import GENERATOR
from rrsis_bench.data.empty_truth import RULES
from rrsis_bench.data.info import SPLITS
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import (
    NULL,
    SEED,
    SWITCH,
    TEXT,
    Kind,
    above,
    is_number,
    is_whole,
    listed,
    mapped,
    number,
    one_of,
    only,
    shown,
    whole,
)  # fmt: skip
from rrsis_bench.metrics.definitions import GENERALISED, METRICS

SHARE = above(0, 1)
BATCHES = Kind(
    "a whole number of batches of at least 1, a share such as 0.5, or null",
    lambda value: value is None or (is_whole(value) and value >= 1) or (isinstance(value, float) and SHARE.fits(value)),
)

OBJECTS = Kind(
    "a mapping with class_path and init_args, a list of such, or null",
    lambda value: (
        value is None or all(isinstance(one, Mapping) for one in (value if isinstance(value, list) else [value]))
    ),
)
TIME = Kind(
    "a time as text, DD:HH:MM:SS", lambda value: isinstance(value, str) and bool(re.fullmatch(r"\d+(:\d\d){3}", value))
)

KINDS: Mapping[str, Kind] = {
    "seed_everything": SEED,
    "checkpoint_every_n_steps": whole(0),
    "model.method": TEXT,
    "model.variant": TEXT,
    "model.recipe": TEXT | NULL,
    "model.options": mapped() | NULL,
    "model.pretrained": SWITCH,
    "model.optimizer.name": one_of("adamw", "adam"),
    "model.optimizer.lr": above(0),
    "model.optimizer.weight_decay": number(0),
    "model.optimizer.betas": listed(
        Kind("a number from 0 to below 1", lambda value: is_number(value) and 0 <= value < 1), 2
    ),
    "model.optimizer.eps": above(0),
    "model.optimizer.amsgrad": SWITCH,
    "model.schedule.name": one_of("poly", "cosine", "step", "constant"),
    "model.schedule.power": number(0),
    "model.schedule.floor": number(0),
    "model.schedule.warmup_steps": whole(0),
    "model.schedule.warmup_factor": SHARE,
    "model.schedule.milestones": listed(whole(0)),
    "model.schedule.gamma": above(0),
    "model.loss_weights": mapped(item=number(0)) | NULL,
    "model.protocols": listed(TEXT),
    "model.monitor": one_of(*METRICS, *GENERALISED),
    "model.compile": SWITCH,
    "model.channels_last": SWITCH,
    "model.activation_checkpointing": SWITCH,
    "data.dataset": TEXT,
    "data.source": TEXT | NULL,
    "data.root": TEXT | NULL,
    "data.batch_size": whole(1),
    "data.eval_batch_size": whole(1),
    "data.global_batch": whole(1) | NULL,
    "data.num_workers": whole(0),
    "data.seed": SEED,
    "data.augment": mapped("recipe", "flip", "boxes", "jitter") | NULL,
    "data.generator": mapped(*GENERATOR) | NULL,
    "data.source_options": mapped() | NULL,
    "data.manifest": TEXT | NULL,
    "data.pixels": mapped() | NULL,
    "data.permute_expressions": SWITCH,
    "data.limit": mapped(*SPLITS, item=whole(1)) | NULL,
    "data.select_on": one_of("val", "test"),
    "data.empty_truth": one_of(*RULES) | NULL,
    "data.expressions_per_image": whole(2) | NULL,
    "data.leave_out": TEXT | NULL,
    "data.cache": TEXT | NULL,
    "data.cache_gb": above(0),
    "data.control_samples": whole(1) | one_of("full", "none") | NULL,
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.strategy": TEXT,
    "trainer.devices": Kind(
        "a whole number of at least 1, auto, -1 (all), or a list of device numbers such as [0, 2]",
        lambda value: (
            value in ("auto", "-1", -1)
            or whole(1).fits(value)
            or (isinstance(value, str) and bool(value) and all(part.strip().isdigit() for part in value.split(",")))
            or (listed(whole(0)).fits(value) and 0 < len(value) == len(set(value)))
        ),
    ),
    "trainer.num_nodes": whole(1),
    "trainer.precision": one_of(
        "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine",
        "transformer-engine-float16", "32", "bf16", "16", "64", 32, 16, 64,
    )
    | NULL,
    "trainer.logger": SWITCH | OBJECTS,
    "trainer.callbacks": OBJECTS,
    "trainer.fast_dev_run": only(False, "a trial run leaves no checkpoint to test; limit the data with data.limit"),
    "trainer.max_epochs": whole(1) | one_of(-1) | NULL,
    "trainer.min_epochs": whole(0) | NULL,
    "trainer.max_steps": whole(1) | one_of(-1),
    "trainer.min_steps": whole(0) | NULL,
    "trainer.max_time": TIME | mapped("days", "hours", "minutes", "seconds", item=number(0)) | NULL,
    "trainer.limit_train_batches": BATCHES,
    "trainer.limit_val_batches": BATCHES | one_of(0),
    "trainer.limit_test_batches": BATCHES,
    "trainer.limit_predict_batches": BATCHES,
    "trainer.overfit_batches": number(0),
    "trainer.val_check_interval": whole(1)
    | SHARE
    | TIME
    | mapped("days", "hours", "minutes", "seconds", item=number(0))
    | NULL,
    "trainer.check_val_every_n_epoch": whole(1) | NULL,
    "trainer.num_sanity_val_steps": whole(-1) | NULL,
    "trainer.log_every_n_steps": whole(1) | NULL,
    "trainer.enable_checkpointing": only(True, "a run is tested from its checkpoint"),
    "trainer.enable_progress_bar": SWITCH | NULL,
    "trainer.enable_model_summary": SWITCH | NULL,
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.gradient_clip_val": number(0) | NULL,
    "trainer.gradient_clip_algorithm": one_of("norm", "value") | NULL,
    "trainer.deterministic": SWITCH | one_of("warn") | NULL,
    "trainer.benchmark": SWITCH | NULL,
    "trainer.inference_mode": SWITCH,
    "trainer.use_distributed_sampler": only(False, "the data module's own samplers repeat no sample"),
    "trainer.profiler": one_of("simple", "advanced", "pytorch") | OBJECTS,
    "trainer.detect_anomaly": SWITCH,
    "trainer.barebones": only(False, "it leaves no checkpoint to test"),
    "trainer.plugins": OBJECTS,
    "trainer.sync_batchnorm": SWITCH,
    "trainer.reload_dataloaders_every_n_epochs": whole(0),
    "trainer.default_root_dir": only(None, "--out names the run folder"),
    "trainer.enable_autolog_hparams": SWITCH,
    "trainer.model_registry": TEXT | NULL,
}  # fmt: skip
"""Dotted key -> what its value may be."""

BLOCKS = frozenset(key[:end] for key in KINDS for end, letter in enumerate(key) if letter == ".")
"""Keys that hold other keys: `model`, `model.optimizer`, ..."""


_CHOICES: Mapping[str, Kind] = {
    "model.select_by": TEXT | NULL,
    "model.score_by": one_of("all") | listed(TEXT) | NULL,
}
"""Keys of a layer from which `resolve` makes `model.protocols`."""


def check(config: Config, where: str = "") -> None:
    """Check every value of a configuration, or of a layer of one.

    Args:
        config: the configuration.
        where: the file it was read from, as messages begin.

    Raises:
        UsageError: an unknown key, or a value that its key may not have.
    """
    try:
        _check_block(config, "")
    except UsageError as error:
        raise UsageError(f"{where}{error}") from None


_IDLE: Mapping[str, tuple[str, Any, Callable[[Any], bool], str]] = {
    "model.schedule.power": ("model.schedule.name", "poly", lambda name: name == "poly", "poly"),
    "model.schedule.floor": ("model.schedule.name", "poly", lambda name: name == "cosine", "cosine"),
    "model.schedule.milestones": ("model.schedule.name", "poly", lambda name: name == "step", "step"),
    "model.schedule.gamma": ("model.schedule.name", "poly", lambda name: name == "step", "step"),
    "model.schedule.warmup_factor": ("model.schedule.warmup_steps", 0, lambda steps: steps > 0, "a number above 0"),
    "trainer.gradient_clip_algorithm": ("trainer.gradient_clip_val", None, bool, "a number above 0"),
    "data.cache_gb": ("data.cache", None, bool, "a folder"),
}
"""Key -> the key that decides whether it has an effect, that key's default, the test of its value, and the remedy."""


def check_effect(config: Config, typed: Iterable[str]) -> None:
    """Refuse a typed value that has no effect with the values of the other keys.

    Args:
        config: a checked configuration.
        typed: dotted keys of the values that the user typed.

    Raises:
        UsageError: names the key, and the value of the other key with which it has an effect.
    """
    values = flat(config)
    for key in typed:
        if key in _IDLE:
            other, default, has_effect, remedy = _IDLE[key]
            if not has_effect(value := values.get(other, default)):
                raise UsageError(
                    f"{key} has no effect with {other}={shown(value).strip(chr(39))}: leave it out, or set {other} to "
                    f"{remedy}."
                )


_OF_TRAINING = (
    "model.optimizer.", "model.schedule.", "model.loss_weights", "data.augment", "data.batch_size", "data.global_batch",
    "data.expressions_per_image", "data.limit.train", "trainer.max_epochs", "trainer.min_epochs", "trainer.max_steps",
    "trainer.min_steps", "trainer.max_time", "trainer.accumulate_grad_batches", "trainer.gradient_clip_",
    "trainer.val_check_interval", "trainer.check_val_every_n_epoch", "trainer.limit_train_batches",
    "checkpoint_every_n_steps",
)  # fmt: skip
"""Beginnings of keys that only a training reads."""


def check_scoring(typed: Iterable[str]) -> None:
    """Refuse a typed value that only a training reads: the configuration beside the scores would state it.

    Args:
        typed: dotted keys of the values that the user typed for a trained run.

    Raises:
        UsageError: names the key.
    """
    for key in typed:
        if key.startswith(_OF_TRAINING):
            raise UsageError(f"{key} has no effect on a run that is trained already: leave it out.")


def check_blocks(layer: Mapping[str, Any], where: str = "") -> None:
    """Refuse a layer whose blocks are no mappings: merged, it would replace all that stands below it.

    Args:
        layer: a part of a configuration.
        where: what messages begin with.

    Raises:
        UsageError: names the block.
    """
    for block in sorted(BLOCKS):
        value: Any = layer
        for key in block.split("."):
            value = value.get(key, {}) if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}{_not_a_block(block, value)}")


def _check_block(values: Mapping[str, Any], where: str) -> None:
    for key, value in values.items():
        name = (f"{where}.{key}" if where else str(key)).removesuffix("+")  # LightningCLI's way to append to a list
        if name in BLOCKS:
            if not isinstance(value, Mapping):
                raise UsageError(_not_a_block(name, value))
            _check_block(value, name)
            continue
        kind = KINDS.get(name) or _CHOICES.get(name)
        if kind is None:
            raise UsageError(f"unknown key '{name}' in the configuration.{did_you_mean(name, _siblings(where))}")
        if not kind.fits(value):
            _refuse(name, kind, value)


def _refuse(name: str, kind: Kind, value: Any) -> NoReturn:
    """Raise UsageError for a value; of a mapping, name the key that is wrong."""
    for key, entry in value.items() if isinstance(value, Mapping) else ():
        if kind.keys and key not in kind.keys:
            raise UsageError(f"unknown key '{name}.{key}'.{did_you_mean(str(key), list(kind.keys))}")
        if kind.item is not None and not kind.item.fits(entry):
            _refuse(f"{name}.{key}", kind.item, entry)
    raise UsageError(f"{name} must be {kind.words}, not {shown(value)}.{_hint(name, value)}")


def _siblings(where: str) -> list[str]:
    """Keys that stand in a block."""
    start = f"{where}." if where else ""
    return sorted({start + key[len(start) :].partition(".")[0] for key in KINDS if key.startswith(start)})


def _not_a_block(name: str, value: Any) -> str:
    inside = next(key for key in KINDS if key.startswith(f"{name}."))
    return f"{name} must be a mapping of its values, such as {inside}, not {shown(value)}."


def _hint(name: str, value: Any) -> str:
    """What is meant where a number stands as text, and which flag sets a seed."""
    if name == "seed_everything":
        return " --seed sets it."
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return " This is text: write the number without quotes."
    return ""
