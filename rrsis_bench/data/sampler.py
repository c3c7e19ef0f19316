"""Order of samples: resumable in the middle of an epoch for training, each sample exactly once for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler


class ResumableSampler(Sampler[int]):
    """A shuffled order that is a pure function of (seed, epoch), dealt out to the processes.

    All processes make the same number of steps. Where the number of samples does not divide by that of the processes,
    the first samples of the order are dealt once more.
    """

    def __init__(
        self,
        size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        images: NDArray[np.int64] | None = None,
        per_image: int = 1,
    ) -> None:
        """Start at the first sample of epoch 0.

        Args:
            size: number of samples in the split.
            seed: of the order.
            shuffle: False for the order of the split.
            rank: number of this process.
            world_size: number of processes.
            images: for each sample a number, equal for samples of one image. A shuffled order then keeps up to
                `per_image` samples of an image together. None to shuffle all samples.
            per_image: size of these groups.
        """
        self.images, self.per_image = images, per_image
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
            rng = np.random.default_rng((self.seed, self.epoch))
            order = rng.permutation(self.size)
            if self.images is not None:
                order = self._grouped(order, self.images[order], rng)
        missing = len(self) * self.world_size - self.size
        dealt = np.concatenate((order, np.resize(order, missing))) if missing else order
        # A process gets a stretch of groups, or every so-many-th sample where there are no groups to be torn.
        stretch = slice(self.rank * len(self), (self.rank + 1) * len(self))
        mine = dealt[self.rank :: self.world_size] if self.images is None else dealt[stretch]
        return [int(index) for index in mine]

    def _grouped(
        self, order: NDArray[np.int64], images: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Cut each image's samples into groups, in the given order, and shuffle the groups."""
        by_image = np.argsort(images, kind="stable")
        starts = np.flatnonzero(np.diff(images[by_image], prepend=-1))
        within = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        group = np.cumsum(within % self.per_image == 0) - 1
        place = rng.permutation(group[-1] + 1)
        return order[by_image][np.argsort(place[group], kind="stable")]

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


class ImageSampler(Sampler[int]):
    """Samples image by image: over all processes each sample once, none repeated.

    Processes get equally many samples, to within one. An image is split among processes only if no process has room
    for all of its samples.
    """

    def __init__(self, images: Sequence[int] | NDArray[np.int64], rank: int = 0, world_size: int = 1) -> None:
        """Deal the samples out.

        Args:
            images: for each sample a number, equal for samples of one image; images come by ascending number.
            rank: number of this process; 0 of 1 for a single process.
            world_size: number of processes.
        """
        numbers = np.asarray(images, np.int64)
        by_image = np.split(order := np.argsort(numbers, kind="stable"), np.flatnonzero(np.diff(numbers[order])) + 1)
        room = [len(range(rank, len(numbers), world_size)) for rank in range(world_size)]
        dealt: list[list[NDArray[np.int64]]] = [[] for _ in room]
        left = []
        for samples in sorted(by_image, key=len, reverse=True):
            widest = int(np.argmax(room))
            if len(samples) <= room[widest]:
                dealt[widest].append(samples)
                room[widest] -= len(samples)
            else:
                left.append(samples)
        for samples in left:
            for place, share in enumerate(room):
                dealt[place].append(samples[:share])
                room[place] -= len(dealt[place][-1])
                samples = samples[share:]
        own = np.concatenate([np.empty(0, np.int64), *dealt[rank]])
        self._own: list[int] = own[np.lexsort((own, numbers[own]))].tolist()

    def __len__(self) -> int:
        """Samples of this process; processes may differ by one."""
        return len(self._own)

    def __iter__(self) -> Iterator[int]:
        """The samples, those of an image in order of the split."""
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
