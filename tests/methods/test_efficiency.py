"""The family's networks run fused, without loops over samples or windows, and layouts change no result."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rrsis_bench import registry
from rrsis_bench.config import variant_options
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract import random_batch
from rrsis_bench.types import Batch

FAMILY = ("lavt", "lgce", "rmsin", "fianet")


class Calls(TorchDispatchMode):
    """Counts the kernels that run inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def tiny(name: str) -> tuple[Method, Batch]:
    torch.manual_seed(0)
    method = registry.load_class(name).from_options(variant_options(name, "tiny"))
    return method.eval(), random_batch(method.input_spec)


def kernels(method: Method, batch: Batch) -> Counter[str]:
    with Calls() as calls, torch.no_grad():
        method(batch)
    return calls.names


@pytest.mark.parametrize("name", [name for name in FAMILY if name in registry.BUILT_IN])
def test_attention_is_fused(name: str) -> None:
    names = kernels(*tiny(name))
    fused = sum(count for call, count in names.items() if call.startswith("_scaled_dot_product"))
    assert fused > 10
    assert names["_softmax"] == 0


@pytest.mark.parametrize("name", [name for name in FAMILY if name in registry.BUILT_IN])
def test_more_samples_need_no_more_kernels(name: str) -> None:
    """A Python loop over samples or windows would show as calls that grow with them."""
    method, batch = tiny(name)
    more = random_batch(method.input_spec, batch.texts * 2)
    assert sum(kernels(method, more).values()) == sum(kernels(method, batch).values())


@pytest.mark.parametrize("name", [name for name in FAMILY if name in registry.BUILT_IN])
@torch.no_grad()
def test_memory_layout_changes_no_result(name: str) -> None:
    method, batch = tiny(name)
    before = method(batch).logits
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(method(batch).logits, before, rtol=0, atol=1e-3)
