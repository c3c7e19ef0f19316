"""Finds trainable parameters that a backward pass leaves without a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn


def without_gradient(method: nn.Module, cancelled: Sequence[str] = ()) -> list[str]:
    """Names of trainable parameters whose gradient is missing or zero everywhere.

    Args:
        method: after a backward pass.
        cancelled: patterns of biases that the next operation takes off again (BatchNorm, softmax). Their gradient is
            zero but for rounding, which differs between processors; it must not be larger.
    """
    found = []
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        if any(fnmatchcase(name, pattern) for pattern in cancelled):
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) < 1e-6, name
        elif parameter.grad is None or not bool(parameter.grad.any()):
            found.append(name)
    return found
