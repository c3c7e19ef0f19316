"""`prior-image`: the mean mask of the training split, for every image and expression."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from baselines.prior.model import Prior, PriorOptions
from rrsis_bench.types import Batch

__all__ = ["PriorImage"]


class PriorImage(Prior):
    """Predicts where referents lie on average."""

    name: ClassVar[str] = "prior-image"
    Options: ClassVar[type[Any]] = PriorOptions

    def probability(self, batch: Batch) -> Tensor:
        """The mean mask, (B, G * G)."""
        return self.mean_mask().expand(len(batch), -1)
