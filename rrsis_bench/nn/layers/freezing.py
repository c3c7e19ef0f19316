"""Which parameters of a module are trained."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The parameters that require a gradient."""
    return [parameter for parameter in parameters if parameter.requires_grad]


def freeze(module: nn.Module) -> None:
    """Switch gradients off for every parameter of a module; its buffers and its mode stay as they are."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
