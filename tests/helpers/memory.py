"""Measures the peak memory of tensors on any device, when they are made and freed."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Peak bytes of the storages that operations in the block make and keep alive at the same time.

    Memory that an operation allocates and frees within itself is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor):
                self.see(given, own=False)
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                self.see(made, own=True)
        return result

    def see(self, tensor: Tensor, own: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = storage.nbytes() if own else 0
        weakref.finalize(storage, self.forget, key, size)
        self.alive += size
        self.peak = max(self.peak, self.alive)

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size
