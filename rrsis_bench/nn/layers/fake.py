"""Fake tensors: device, shape and type without values, so that a network of any size runs anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from rrsis_bench.nn.layers.nearest import forget_lines


@contextmanager
def faked(mode: FakeTensorMode) -> Iterator[None]:
    """Run a block under a mode. Indices kept of real tensors are forgotten before it, and those of fake ones after."""
    forget_lines()
    try:
        with mode:
            yield
    finally:
        forget_lines()


def fake(tensor: Tensor, mode: FakeTensorMode, device: torch.device) -> Tensor:
    """A fake tensor of the same shape and type on any device, also on one that the machine lacks."""
    return FakeTensor(mode, tensor.detach().to("meta"), device)


def make_fake(module: nn.Module, mode: FakeTensorMode, device: torch.device) -> None:
    """Replace all parameters and buffers by fake tensors. A tensor shared by two modules stays shared.

    Args:
        module: a network, best built on the meta device: its values get lost.
        mode: the mode that the network will run under.
        device: device of the fake tensors.
    """
    made: dict[int, Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                found = nn.Parameter(fake(parameter, mode, device), parameter.requires_grad)
                part._parameters[name] = made.setdefault(id(parameter), found)  # type: ignore[assignment]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = made.setdefault(id(buffer), fake(buffer, mode, device))
