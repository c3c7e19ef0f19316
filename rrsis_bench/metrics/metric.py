"""The counts of a whole split, gathered over processes, each sample once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rrsis_bench.errors import UserError


class GatheredCounts:
    """The samples of a whole split; unpacks as `indices, counts`.

    A tuple or a dataclass would not do: torchmetrics squeezes every one-element tensor inside them. The indices of a
    split of one sample would lose their axis.

    Attributes:
        indices: (N,) int64 positions in the split, ascending.
        counts: (N, V, C) int64, C = 3 for areas.
    """

    def __init__(self, indices: Tensor, counts: Tensor) -> None:
        self.indices = indices
        self.counts = counts

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.indices, self.counts))


class SampleCounts(Metric):
    """Keeps the index and the integers of every sample. Nothing is reduced: every metric can be computed later.

    Processes may hold different numbers of samples, or none. A sampler may repeat samples to even them out: `compute`
    keeps each index once.
    """

    full_state_update = False
    is_differentiable = False
    indices: list[Tensor]
    counts: list[Tensor]

    def __init__(self, columns: int = 3, **kwargs: Any) -> None:
        """Start empty.

        Args:
            columns: length of the last axis of the counts: 3 areas, or the columns of a sample's detail.
            kwargs: those of `torchmetrics.Metric`.
        """
        super().__init__(**kwargs)
        self.columns = columns
        # Flat vectors: torchmetrics gathers vectors of different lengths, also of length 0.
        self.add_state("indices", default=[], dist_reduce_fx="cat")
        self.add_state("counts", default=[], dist_reduce_fx="cat")

    def update(self, indices: Tensor, counts: Tensor) -> None:
        """Add a batch.

        Args:
            indices: (B,) int64 positions in the split.
            counts: (B, V, columns) int64, such as those from `counts.count`.
        """
        self.indices.append(indices.to(counts.device))
        self.counts.append(counts.flatten())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather over processes. A process without samples joins with empty vectors of the right type."""
        for state in (self.indices, self.counts):
            if isinstance(state, list) and not state:
                state.append(torch.empty(0, dtype=torch.int64, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> GatheredCounts:
        """Return all samples seen, each once, by ascending index.

        Returns:
            indices (N,) and counts (N, V, columns), int64 on the CPU; N and V are 0 when no sample was seen.

        Raises:
            UserError: logits of some sample were NaN or infinite.
        """
        indices, flat = _joined(self.indices), _joined(self.counts)
        if not len(indices):
            return GatheredCounts(indices, flat.reshape(0, 0, self.columns))
        counts = flat.reshape(len(indices), -1, self.columns)
        order = torch.argsort(indices, stable=True)
        indices, counts = indices[order], counts[order]
        first = torch.ones(len(indices), dtype=torch.bool)
        first[1:] = indices[1:] != indices[:-1]
        indices, counts = indices[first], counts[first]
        bad = (counts < 0).flatten(1).any(dim=1).nonzero().flatten()
        if len(bad):
            raise UserError(
                f"logits of {len(bad)} of {len(indices)} samples are NaN or infinite (first: sample {indices[bad[0]]} "
                "of the split); nothing was scored. Check the checkpoint, or score it with trainer.precision 32-true."
            )
        return GatheredCounts(indices, counts)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    parts = [state] if isinstance(state, Tensor) else state
    return torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.int64)
