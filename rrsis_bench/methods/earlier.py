"""Tensors of an earlier run, for a method whose training starts from another training's result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.weights.files import load_checkpoint, naming_the_file
from rrsis_bench.nn.weights.refs import sha256_file
from rrsis_bench.run.folder import RunFolder

ENTRY, PREFIX = "rrsis_bench", "method."


def earlier_tensors(runs: Sequence[str], method: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what earlier runs learned.

    A checkpoint lacks what its training kept frozen. The runs that it started from give those tensors: its option
    `weights_from` names them.

    Args:
        runs: run folders or checkpoints; of two with a tensor in common, the later one counts.
        method: registry name that their method must have.

    Returns:
        tensors by the method's own names, and stage -> sha256 of every checkpoint that was read.

    Raises:
        UsageError: a run is of another method, or no run.
        MissingResourceError: a file is missing or unreadable.
    """
    tensors: dict[str, Tensor] = {}
    digests: dict[str, str] = {}
    for run in runs:
        path = Path(run).expanduser()
        path = RunFolder(path).checkpoint() if path.is_dir() else path
        with naming_the_file(path):
            content = load_checkpoint(path)
        entry = content.get(ENTRY) or {}
        if entry.get("method") != method:
            raise UsageError(f"{path} is no checkpoint of {method}; name a run of an earlier stage of {method}.")
        options = entry.get("options") or {}
        inherited, read = earlier_tensors(options.get("weights_from") or (), method)
        own = {name.removeprefix(PREFIX): x for name, x in content["state_dict"].items() if name.startswith(PREFIX)}
        tensors |= inherited | own
        digests |= read | {str(options.get("stage", "run")): sha256_file(path)}
    return tensors, digests
