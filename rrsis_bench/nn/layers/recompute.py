"""Activation checkpointing (arXiv 1604.06174): keep a block's inputs alone, and run it again in the backward pass.

Saves the memory of a block's activations, and costs about a third more time. Dropout draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function as usual; takes the place of `again`."""
    return function(*args, **kwargs)


def again(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that is run again in the backward pass; without gradients, call it alone."""
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Run blocks again in the backward pass, in place.

    A block with BatchNorm in training mode stays as it is: its statistics would count each batch twice.
    """
    for block in blocks:
        if not any(isinstance(part, _BatchNorm) and part.training for part in block.modules()):
            block.forward = partial(again, block.forward)
