"""Counts the kernels that a network runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rrsis_bench.methods.base import Method
from rrsis_bench.types import Batch


class Calls(TorchDispatchMode):
    """Counts the kernels that run in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def kernels(method: Method, batch: Batch) -> Counter[str]:
    with Calls() as calls, torch.no_grad():
        method(batch)
    return calls.names
