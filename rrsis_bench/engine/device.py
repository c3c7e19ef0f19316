"""Chooses a torch device by its name on the command line."""

from __future__ import annotations

import torch

from rrsis_bench.errors import UsageError


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
