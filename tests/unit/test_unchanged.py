"""Profiling leaves a method as it found it, whatever happens in the middle."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import toy
from rrsis_bench.cost import profile
from rrsis_bench.cost.unchanged import unchanged
from rrsis_bench.errors import UserError
from rrsis_bench.types import Batch, MethodOutput, Withheld

FLOPS, FIRST, BATCHES, TRAINING = 1, 2, 4, 6
"""The forward passes of `efficiency` with one warm-up pass and one measured pass, counted from 1."""


class Vandal(toy.Toy):
    """Changes all that a forward pass can get at, and breaks at one of its passes."""

    def __init__(self, breaks_at: int = 0, error: BaseException | None = None) -> None:
        super().__init__(toy.Options())
        self.register_buffer("memory", torch.arange(3.0))
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.breaks_at, self.error = breaks_at, error
        self.passes = 0
        self.blind: list[bool] = []  # of every pass: a list's entries stay

    def forward(self, batch: Batch) -> MethodOutput:
        self.passes += 1
        self.blind.append(isinstance(batch.masks, Withheld))
        output = super().forward(batch)
        random.random(), np.random.rand(), torch.rand(1)
        self.encoder.train()
        self.head.eval()
        self.memory.add_(1)
        self.passing = torch.ones(5)
        self.encoder.requires_grad_(True)
        self.words.requires_grad_(False)
        for parameter in self.head.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.adapter.register_forward_hook(lambda *_: None)
        self.words.extra = nn.Identity()
        self.note = "passed"
        if len(self.blind) == self.breaks_at and self.error is not None:
            self.double()
            raise self.error
        return output


def state(method: Vandal) -> dict[str, Any]:
    """All that must be the same afterwards. The dictionaries' own identity counts: handles of hooks hold them."""
    return {
        "modes": {name: module.training for name, module in method.named_modules()},
        "parameters": [
            (name, id(p), p.data_ptr(), p.dtype, p.device, p.requires_grad, None if p.grad is None else p.grad.tolist())
            for name, p in method.named_parameters()
        ],
        "buffers": [(name, id(b), b.dtype, b.tolist()) for name, b in method.named_buffers()],
        "hooks": [
            (name, id(m._forward_hooks), list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
            for name, m in method.named_modules()
        ],
        "attributes": [(name, sorted(vars(module))) for name, module in method.named_modules()],
        "passes": method.passes,
        "random": (random.getstate(), np.random.get_state()[2], torch.get_rng_state().tolist()),
    }


def prepared(breaks_at: int = 0, error: BaseException | None = None) -> Vandal:
    """A method in the middle of a training: mixed modes, gradients, a hook."""
    method = Vandal(breaks_at, error).train()
    method.adapter[1].eval()
    for parameter in (*method.adapter.parameters(), method.words.weight):
        parameter.grad = torch.full_like(parameter, 0.5)
    method.head.register_forward_hook(lambda *_: None)
    return method


@pytest.fixture
def training_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`efficiency` on a CPU measures the training's memory too, as on a GPU."""
    speed = profile._speed

    def both(method: Any, device: torch.device, batch_size: int, precision: profile.Precision, *rest: Any) -> Any:
        found = speed(method, device, batch_size, precision, *rest)
        batch = profile.sample_batch(method, batch_size, device)
        return found | {"training_memory_mb": profile._training_memory(method, batch, device, precision)}

    monkeypatch.setattr(profile, "_speed", both)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**20)


def measure(method: Vandal) -> dict[str, Any]:
    return profile.efficiency(method, latency=True, batch_size=2, warmup=1, repeats=1)


@pytest.mark.usefixtures("training_memory_is_measured")
def test_a_measured_method_is_as_it_was() -> None:
    method = prepared()
    before = state(method)
    assert measure(method)["training_memory_mb"] == 1
    assert state(method) == before
    assert method.blind == [True] * 5 + [False]  # as in scoring; training reads the truth


@pytest.mark.usefixtures("training_memory_is_measured")
@pytest.mark.parametrize("breaks_at", [FLOPS, FIRST, BATCHES, TRAINING])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("a kernel failed"), RuntimeError),
        (torch.OutOfMemoryError("no memory"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["error", "memory", "interrupt"],
)
def test_a_measurement_that_breaks_leaves_it_too(
    breaks_at: int, error: BaseException, raised: type[BaseException]
) -> None:
    method = prepared(breaks_at, error)
    before = state(method)
    with pytest.raises(raised, match="lower --batch-size" if raised is UserError else None):
        measure(method)
    assert len(method.blind) == breaks_at
    assert state(method) == before


def test_hooks_that_were_there_can_still_be_removed_and_new_ones_are_gone() -> None:
    layer, calls = nn.Linear(2, 2), []
    handle = layer.register_forward_hook(lambda *_: calls.append("old"))
    with unchanged(layer):
        layer.register_forward_hook(lambda *_: calls.append("new"))
        handle.remove()
    layer(torch.zeros(1, 2))
    assert calls == ["old"]
    handle.remove()
    layer(torch.zeros(1, 2))
    assert calls == ["old"]


def test_gradients_wait_outside_and_come_back() -> None:
    layer = nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    before = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    with unchanged(layer):
        assert [p.grad for p in layer.parameters()] == [None, None]
        layer(torch.ones(3, 2)).sum().backward()
    assert all(torch.equal(p.grad, one) for p, one in zip(layer.parameters(), before, strict=True))  # type: ignore[arg-type]


def test_a_network_on_the_meta_device_is_left_too() -> None:
    with torch.device("meta"):
        method = Vandal()
    with unchanged(method):
        method.to(torch.float64).requires_grad_(False)
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in method.head.parameters())


def test_a_network_of_two_types_keeps_both() -> None:
    network = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2))
    data: list[Tensor] = [p.data for p in network.parameters()]
    with unchanged(network):
        network.double()
    assert [p.data_ptr() for p in network.parameters()] == [one.data_ptr() for one in data]
    assert [p.dtype for p in network.parameters()] == [torch.float16] * 2 + [torch.float32] * 2
