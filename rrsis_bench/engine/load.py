"""Loads a trained method from its run folder, without data and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rrsis_bench.config import Config, zero_shot
from rrsis_bench.engine.checkpoint import ENTRY, read_for, strict_load
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import build_method
from rrsis_bench.run.folder import RunFolder


@dataclass(frozen=True)
class TrainedMethod:
    """A trained method, and the run that it comes from.

    Attributes:
        method: the method in evaluation mode, on the chosen device.
        config: resolved configuration of the run.
        checkpoint: file that the trained tensors were read from; None for a zero-shot variant, which has none.
        weights: encoder name -> sha256 of the base weights that the method was trained on.
    """

    method: Method
    config: Config
    checkpoint: Path | None
    weights: dict[str, str]


def load_run(folder: RunFolder, device: torch.device | str = "cpu", checkpoint: Path | None = None) -> TrainedMethod:
    """Load the best checkpoint of a run, or the published weights of a zero-shot variant.

    Args:
        folder: run folder of `fit`.
        device: device for the method.
        checkpoint: checkpoint to load; None for the one that `RunFolder.checkpoint` chooses.

    Raises:
        UsageError: the folder is no run folder, or holds no checkpoint.
        UserError: the checkpoint is damaged or does not fit the run's configuration.
        MissingResourceError: base weights of frozen encoders are missing.
    """
    config = folder.config()
    model: dict[str, Any] = config["model"]
    name, variant, options = str(model["method"]), str(model["variant"]), model.get("options") or {}
    if zero_shot(config) and checkpoint is None:
        method, weights = build_method(name, variant, options)
        return TrainedMethod(method.eval().to(device), config, None, weights)
    checkpoint = folder.checkpoint() if checkpoint is None else checkpoint
    content = read_for(checkpoint, name, variant, options)
    # Without a hash of frozen tensors, the checkpoint holds the whole method.
    pretrained = bool(content[ENTRY]["frozen_sha256"]) and bool(model.get("pretrained", True))
    method, _ = build_method(name, variant, options, pretrained)
    strict_load(method, content, checkpoint)
    return TrainedMethod(method.eval().to(device), config, checkpoint, dict(content[ENTRY]["weights"]))
