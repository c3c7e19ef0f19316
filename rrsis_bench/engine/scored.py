"""The integers of a scored split, and the metrics they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics import functional
from rrsis_bench.metrics.areas import Areas
from rrsis_bench.metrics.definitions import metrics_of
from rrsis_bench.metrics.protocols import Protocol, View


@dataclass(frozen=True)
class Scored:
    """The integers of a scored split.

    Attributes:
        indices: (N,) int64 positions in the split, ascending, each once.
        counts: (N, V, 3) int64 areas of truth, prediction and intersection in each view, in pixels.
        views: the V views.
        targeted: (N,) whether every protocol scores a sample; the generalised ones score all. None: every one does.
        detail: (N, D) int64, the columns of `metrics.detail`; None unless they were counted.
    """

    indices: NDArray[np.int64]
    counts: NDArray[np.int64]
    views: tuple[View, ...]
    targeted: NDArray[np.bool_] | None = None
    detail: NDArray[np.int64] | None = None

    def _scored(self, protocol: Protocol) -> NDArray[np.int64]:
        counts = self.counts[:, self.views.index(protocol.view)]
        return counts if self.targeted is None or protocol.generalised else counts[self.targeted]

    def of(self, protocol: Protocol) -> dict[str, float]:
        """The metrics of a protocol by name, as fractions."""
        return functional.scores(self._scored(protocol), protocol)

    def choosing(self, protocol: Protocol) -> dict[str, float]:
        """The metrics that choose a checkpoint: as `of`, but over samples whose IoU is a number; none is NaN.

        A protocol may give an empty union no IoU. One such sample would make a mean NaN, and NaN chooses nothing. A
        score over no samples, such as N-acc where every sample has a target, is 0.
        """
        counts = self._scored(protocol)
        if len(counts):
            counts = counts[~np.isnan(Areas(counts, protocol).iou)]
        if not len(counts):
            return dict.fromkeys(metrics_of(protocol), 0.0)
        return {name: 0.0 if np.isnan(value) else value for name, value in functional.scores(counts, protocol).items()}
