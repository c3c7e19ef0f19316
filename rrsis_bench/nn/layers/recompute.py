"""Activation checkpointing (arXiv 1604.06174): keep a block's inputs alone, and run it again in the backward pass.

Saves the memory of a block's activations, and costs about a third more time. Dropout draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The innermost items of a network's lists `layers`, `layer` and `blocks`, as transformers names them."""
    lists = [
        part
        for name, part in network.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in ("layers", "layer", "blocks")
    ]
    for part in lists:
        if not any(other is not part and other in lists for other in part.modules()):
            yield from (block for block in part if not isinstance(block, nn.Linear))  # an MLP's layers keep little


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Run blocks again in the backward pass, in place.

    A block with BatchNorm in training mode stays as it is: its statistics would count each batch twice.
    """
    for block in blocks:
        if not any(isinstance(part, _BatchNorm) and part.training for part in block.modules()):
            block.forward = partial(again, block.forward)
