"""Measures latency and memory of finished runs' networks, and writes them into the runs' results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rrsis_bench.cost.profile import efficiency
from rrsis_bench.errors import UsageError
from rrsis_bench.files import prove_writable, write_text
from rrsis_bench.methods.build import build_method
from rrsis_bench.run import seal
from rrsis_bench.run.folder import RunFolder

SAME = ("parameters", "trainable_parameters")


def check(folder: Path) -> tuple[seal.Result, dict[str, Any]]:
    """Check that a run can be measured again, and that its result can be written.

    Returns:
        the run's result, and the block `model` of its configuration.

    Raises:
        UsageError: the folder holds no result of a network of this suite.
        UserError: the result cannot be read or written.
    """
    run = RunFolder(folder)
    path = run.result_path
    if not run.is_finished:
        raise UsageError(f"{folder} holds no {path.name}; name the folder of a finished run.")
    result, model = run.result(), run.config()["model"]
    if result["kind"] == "external" or result["method"].get("target") is None:
        raise UsageError(f"{path} is of predictions from elsewhere: there is no network to measure.")
    prove_writable(path)
    return result, model


def remeasure(folder: Path, device: torch.device, **settings: Any) -> dict[str, Any]:
    """Measure the network of a run and write the figures into its `result.json`; scores and samples stay the same.

    The network has random weights: speed and size do not depend on their values.

    Args:
        folder: run folder, or the folder of a committed result.
        device: device to measure on.
        settings: arguments of `efficiency`.

    Returns:
        the new `efficiency` block.

    Raises:
        UsageError: the folder holds no result of a network of this suite, or the method's code has changed since.
        UserError: the result cannot be read or written.
    """
    result, model = check(folder)
    path = RunFolder(folder).result_path
    name, variant = str(model["method"]), str(model["variant"])
    with device:
        method, _ = build_method(name, variant, model.get("options") or {}, pretrained=False)
    block = efficiency(method, device, latency=True, **settings)
    before = result.get("efficiency") or {}
    for key in SAME:
        if before.get(key, block[key]) != block[key]:
            raise UsageError(
                f"{path}: the run's network had {before[key]:,} {key.replace('_', ' ')}, today's has {block[key]:,}. "
                f"Check out the code of its commit, or train {name} again."
            )
    write_text(path, seal.text_of({**result, "efficiency": block}))
    return block
