"""Chooses a torch device by its name on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry

from rrsis_bench.errors import UsageError, did_you_mean


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Refuse what a trainer cannot run on this machine, before a network is built for it.

    Args:
        trainer: the `trainer` block of a configuration.

    Raises:
        UsageError: this machine has no GPU, or fewer than asked for; or a CPU cannot do what is asked for.
    """
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    strategy = trainer.get("strategy", "auto")
    if strategy not in (known := [*StrategyRegistry.available_strategies(), "auto"]):
        raise UsageError(f"trainer.strategy: there is no strategy '{strategy}'.{did_you_mean(strategy, known)}")
    if "spawn" in strategy:
        other = strategy.replace("_spawn", "")
        raise UsageError(
            f"trainer.strategy={strategy} trains in copies of this process, which cannot hold the run folder; take "
            f"trainer.strategy={other}."
        )
    there = 0 if accelerator in ("mps", "cpu") else torch.cuda.device_count()
    if not there and accelerator not in ("cuda", "cpu"):
        there = int(torch.backends.mps.is_available())
    if accelerator == "cpu" or (accelerator == "auto" and not there):
        _check_cpu(devices, strategy, str(trainer.get("precision")))
        return
    if not there:
        raise UsageError(
            f"trainer.accelerator={accelerator}: torch finds no such device on this machine (rrsis-bench env lists "
            "them); take --trainer cpu, or leave --trainer out."
        )
    numbers = [int(one) for one in devices.split(",")] if isinstance(devices, str) and "," in devices else devices
    asked = max(numbers) + 1 if isinstance(numbers, list) else int(numbers) if str(numbers).isdigit() else 1
    if asked > there:
        raise UsageError(f"trainer.devices={devices}: this machine has {there} of accelerator {accelerator}.")


def _check_cpu(devices: Any, strategy: str, precision: str) -> None:
    """Refuse devices, a strategy or a precision that need a GPU."""
    if not (devices in ("auto", 1) or str(devices).isdigit()):
        raise UsageError(f"trainer.devices={devices}: for a CPU, this is the number of processes, such as 1.")
    if strategy.startswith(("fsdp", "deepspeed")):
        raise UsageError(f"trainer.strategy={strategy} needs GPUs; --trainer cpu takes trainer.strategy=auto or ddp.")
    if precision.startswith(("16", "transformer-engine")):
        # Lightning computes with another precision instead of 16-mixed, and says it in a warning only.
        raise UsageError(f"trainer.precision={precision} needs a GPU; a CPU takes --trainer.precision=bf16-mixed.")


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, or the CPU if there is none.

    Raises:
        UsageError: the name is unknown, or this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{name}': give auto, cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cpu":
        return device
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(device.type, 0)
    if (device.index or 0) >= there:
        raise UsageError(f"device '{name}' is not on this machine, which has {there} of its kind; try --device cpu.")
    return device
