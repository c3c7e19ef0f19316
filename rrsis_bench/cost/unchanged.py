"""Restores a network after it was measured."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Restore a network and the random state when a block ends, also after an error.

    Every submodule gets its attributes back: mode, children, parameters, buffers and hooks. Parameters get device,
    type, gradient and `requires_grad` back, and buffers their values. Values of parameters are not copied: an optimiser
    step in the block changes them for good.

    In the block, the network has no gradients. The gradients and the buffers' values are kept in the host's memory, so
    that they take no memory of the device.
    """
    modules = [(module, _attributes(module)) for module in network.modules()]
    parameters = [(p, p.data, p.requires_grad, _aside(p.grad)) for p in network.parameters()]
    buffers = [(buffer, _aside(buffer)) for buffer in network.buffers()]
    python, arrays = random.getstate(), np.random.get_state()
    devices = {tensor.device for tensor in (*network.parameters(), *network.buffers()) if tensor.is_cuda}
    for parameter in network.parameters():
        parameter.grad = None
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        for module, attributes in modules:
            _give_back(module, attributes)
        with torch.no_grad():
            for parameter, data, trains, gradient in parameters:
                parameter.data = data
                parameter.requires_grad_(trains)
                parameter.grad = None if gradient is None else gradient.to(data.device)
            for buffer, values in buffers:
                buffer.copy_(values)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, dict[Any, Any] | None]]:
    """A module's attributes by name, each with a copy of its entries if it is a dictionary (such as the children)."""
    return {name: (value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()}


def _give_back(module: nn.Module, attributes: dict[str, tuple[Any, dict[Any, Any] | None]]) -> None:
    held = vars(module)
    held.clear()
    for name, (value, entries) in attributes.items():
        held[name] = value
        if entries is not None:
            # The handle of a hook refers to this dictionary, so that a new one would not do.
            value.clear()
            value.update(entries)


def _aside(tensor: Tensor | None) -> Any:
    """A copy of a tensor in the host's memory (on the meta device for a meta tensor); None for None."""
    if tensor is None:
        return None
    return tensor.detach().to("meta" if tensor.is_meta else "cpu", copy=True)
