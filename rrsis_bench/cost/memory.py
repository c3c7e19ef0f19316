"""Peak memory and operations of a training step, found with fake tensors: without data, weights or that memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers import forms
from rrsis_bench.nn.layers.fake import fake, faked, make_fake
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch

CPU = torch.device("cpu")
"""Autograd runs on fake tensors of this device alone, where there is no GPU."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, from their first use until nothing holds them.

    Attributes:
        now: bytes of all storages that are held.
        peak: largest value of `now` so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = WeakIdKeyDictionary()
        self.now = self.peak = 0

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, Tensor):
                self.hold(value)
        return out


@dataclass(frozen=True)
class StepCost:
    """What one training step and one scoring step of a batch need.

    Attributes:
        batch_size: samples in the batch.
        parameters: number of parameters.
        trainable: number of parameters that are trained.
        state_bytes: parameters, buffers, and the optimiser's state, which stay between steps.
        training_bytes: peak in training.
        scoring_bytes: peak in scoring, without the native masks and the state of an optimiser.
        training_flops: operations of the batch's forward and backward pass; a multiply-add counts as 2.
        scoring_flops: operations of the batch's forward pass.
    """

    batch_size: int
    parameters: int
    trainable: int
    state_bytes: int
    training_bytes: int
    scoring_bytes: int
    training_flops: float
    scoring_flops: float


def step_cost(
    build: Callable[[], Method],
    optimizer: Callable[[Method], Optimizer | None],
    batch_size: int,
    half: bool = False,
    checkpointing: bool = False,
    as_published: bool = True,
) -> StepCost:
    """Run two training steps and one scoring step on fake tensors.

    The first step makes the optimiser's state, so that the second one shows the peak.

    Args:
        build: builds the network with random weights.
        optimizer: builds its optimiser; None for a method without trainable parameters.
        batch_size: samples in the batch.
        half: run forward passes under bf16 autocast.
        checkpointing: compute activations again in the backward pass.
        as_published: run the published forms (`nn/layers/forms.py`), as the suite does on GPUs.
    """
    with _two_steps(build, optimizer, batch_size, half, checkpointing, as_published) as (method, batch, live, weights):
        training, state = live.peak, live.now
        trained = sum(parameter.numel() for parameter in trainable(method.parameters()))
        live.peak = live.now
        with live, torch.no_grad(), _autocast(half):
            method.eval()(batch.blind())
        # Scoring holds no state of the optimiser.
        scoring = live.peak - (state - weights)
        with FlopCounterMode(display=False) as both, sdpa_kernel(SDPBackend.MATH):
            _train(method, None, batch, half)
        with FlopCounterMode(display=False) as forward, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            method.eval().requires_grad_(False)(batch.blind())
    parameters = list(method.parameters())
    return StepCost(
        batch_size,
        sum(parameter.numel() for parameter in parameters),
        trained,
        state,
        training,
        scoring,
        float(both.get_total_flops()),
        float(forward.get_total_flops()),
    )


def training_bytes(
    build: Callable[[], Method],
    optimizer: Callable[[Method], Optimizer | None],
    batch_size: int,
    half: bool = False,
    checkpointing: bool = False,
    as_published: bool = True,
) -> int:
    """The `training_bytes` of `step_cost`, without the cost of the rest; the arguments are the same."""
    with _two_steps(build, optimizer, batch_size, half, checkpointing, as_published) as (_, _, live, _):
        return live.peak


@contextmanager
def _two_steps(
    build: Callable[[], Method],
    optimizer: Callable[[Method], Optimizer | None],
    batch_size: int,
    half: bool,
    checkpointing: bool,
    as_published: bool,
) -> Iterator[tuple[Method, Batch, LiveBytes, int]]:
    """Run two training steps on fake tensors, and a block under the same mode, while the optimiser's state is alive.

    Yields:
        the network, its batch, the storages, and the bytes of the weights.
    """
    mode = FakeTensorMode()
    with torch.device("meta"):
        method = build()
    make_fake(method, mode, CPU)
    if checkpointing:
        method.checkpoint_activations()
    batch = sample_batch(method, batch_size, "cpu").mapped(lambda tensor: fake(tensor, mode, CPU))
    live = LiveBytes()
    for tensor in (*method.parameters(), *method.buffers()):
        live.hold(tensor)
    weights = live.now
    with forms.as_published() if as_published else nullcontext(), faked(mode):
        steps = optimizer(method)
        with live:
            for _ in range(2):
                _train(method, steps, batch, half)
        yield method, batch, live, weights


def _train(method: Method, optimizer: Optimizer | None, batch: Batch, half: bool) -> None:
    """One training step; without an optimiser, only its forward and backward pass.

    A network that trains nothing scores the batch: a zero-shot one need not have a loss.
    """
    if not trainable(method.parameters()):
        with _autocast(half), torch.no_grad():
            method.eval()(batch.blind())
        return
    with _autocast(half):
        output = method.train()(batch)
        loss = torch.stack([value.float() for value in method.loss(output, batch).values()]).sum()
    if loss.requires_grad:
        torch.autograd.backward(loss)
    if optimizer is not None:
        optimizer.step()
    method.zero_grad()


def _autocast(enabled: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)
