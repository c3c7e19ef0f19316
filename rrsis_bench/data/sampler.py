"""Order of samples: resumable in the middle of an epoch for training, each sample exactly once for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler


class ResumableSampler(Sampler[int]):
    """A shuffled order that is a pure function of (seed, epoch), dealt out to the processes.

    All processes make the same number of steps. Where the number of samples does not divide by that of the processes,
    the first samples of the order are dealt once more.
    """

    def __init__(self, size: int, seed: int = 0, shuffle: bool = True, rank: int = 0, world_size: int = 1) -> None:
        """Start at the first sample of epoch 0.

        Args:
            size: number of samples in the split.
            seed: of the order.
            shuffle: False for the order of the split.
            rank: number of this process.
            world_size: number of processes.
        """
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        """Samples of a whole epoch in this process; the position does not matter."""
        return -(-self.size // self.world_size)

    def order(self) -> list[int]:
        """This process's samples of the current epoch."""
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        missing = len(self) * self.world_size - self.size
        dealt = np.concatenate((order, np.resize(order, missing))) if missing else order
        mine: list[int] = dealt[self.rank :: self.world_size].tolist()
        return mine

    def __iter__(self) -> Iterator[int]:
        """The samples from the position on."""
        return iter(self.order()[self.position :])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another epoch starts at its first sample."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Epoch and position (samples of this process already handed out)."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a stored epoch and position."""
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


class StridedSampler(Sampler[int]):
    """Every `world_size`-th sample from `rank` on: over all processes each sample once, none repeated."""

    def __init__(self, size: int, rank: int = 0, world_size: int = 1) -> None:
        """Use `rank` 0 of 1 for a single process."""
        self._own = range(rank, size, world_size)

    def __len__(self) -> int:
        """Samples of this process; processes may differ by one."""
        return len(self._own)

    def __iter__(self) -> Iterator[int]:
        """The samples in order."""
        return iter(self._own)


class ResumableLoader(DataLoader[Any]):
    """A loader whose state counts the batches handed to the training loop; prefetched ones do not count.

    Its sampler must be a `ResumableSampler`. Lightning stores and restores the state with its own checkpoints.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `DataLoader`."""
        super().__init__(*args, **kwargs)
        if not isinstance(self.sampler, ResumableSampler):
            raise TypeError("ResumableLoader needs a ResumableSampler")
        self._order: ResumableSampler = self.sampler
        self._yielded = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of the sampler's epoch, from the stored one on if a state of this epoch was loaded."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self._order.epoch)
        size = self.batch_size or 1
        self._yielded = self._order.position // size
        epoch = self._order.epoch
        for batch in super().__iter__():
            # Counted before it is handed over: a checkpoint written while the loop works on it must not repeat it.
            self._yielded += 1
            yield batch
        # The epoch is done: another pass, even over the same epoch, starts at its first sample.
        if self._order.epoch == epoch:
            self._order.position = 0

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of batches handed out."""
        return {"epoch": self._order.epoch, "batches": self._yielded, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the stored number of batches; `set_epoch` with another epoch starts at its first sample."""
        self._yielded = int(state["batches"])
        position = self._yielded * int(state.get("batch_size") or self.batch_size or 1)
        self._order.load_state_dict({"epoch": int(state["epoch"]), "position": position})
