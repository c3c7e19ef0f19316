"""The integers of samples: checked once, with what several metrics need of them.

Shape legend: `N` samples, the last axis of a count array is (truth, prediction, intersection) in pixels.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import EmptyUnion, Protocol, get

Counts = NDArray[np.int64]

NOT_FINITE = -1
"""Stands for each integer of a sample whose logits are not finite."""


def validate(counts: NDArray[Any]) -> Counts:
    """Check an (N, 3) array of counts, and return it as int64.

    Raises:
        UserError: wrong shape or type, no samples, logits that were not finite, or integers no masks can have.
    """
    array = np.asarray(counts)
    if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"counts must be integers of shape (N, 3), not {array.dtype} of shape {array.shape}.")
    if not len(array):
        raise UserError("there are no samples to score: the split is empty.")
    array = array.astype(np.int64, copy=False)
    bad = np.flatnonzero((array < 0).any(axis=1))
    if bad.size:
        raise UserError(
            f"logits of {bad.size} of {len(array)} samples are NaN or infinite (first at row {bad[0]}); "
            "nothing was scored. Check the checkpoint, or score it with trainer.precision 32-true."
        )
    wrong = np.flatnonzero(array[:, 2] > np.minimum(array[:, 0], array[:, 1]))
    if wrong.size:
        raise UserError(f"row {wrong[0]} of the counts has an intersection larger than one of its masks.")
    return array


def divide(numerator: NDArray[Any], denominator: NDArray[Any], empty: EmptyUnion) -> NDArray[np.float64]:
    """Divide two arrays of one shape; where the denominator is 0, `empty` says what an empty union gives."""
    # float64 rounds the quotient once. Comparing it with a literal such as 0.7 therefore decides as the exact fraction
    # would: 7/10 and 0.7 round to the same number, and no union is large enough to blur a neighbour.
    value = {"one_if_both_empty": 1.0, "zero": 0.0, "nan": np.nan}[empty]
    result = np.full(numerator.shape, value, dtype=np.float64)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


class Areas:
    """The integers of samples under one protocol.

    Args:
        counts: (N, 3) integers.
        protocol: a protocol or its name.

    Raises:
        UsageError: an unknown protocol.
        UserError: see `validate`.

    Attributes:
        protocol: whose conventions hold.
        truth: (N,) int64 pixels of the truth.
        pred: (N,) int64 pixels of the prediction; 0 where the protocol takes it for the answer "nothing there".
        inter: (N,) int64 pixels of their intersection.
        union: (N,) int64 pixels of their union.
    """

    def __init__(self, counts: NDArray[Any], protocol: Protocol | str) -> None:
        self.protocol = get(protocol) if isinstance(protocol, str) else protocol
        self.truth, self.pred, self.inter = validate(counts).T
        if self.protocol.nothing is not None:
            something = self.pred > self.protocol.nothing
            self.pred, self.inter = self.pred * something, self.inter * something
        self.union = self.truth + self.pred - self.inter

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """IoU of each sample, (N,)."""
        return divide(self.inter, self.union, self.protocol.empty_union)

    def reaches(self, threshold: float) -> NDArray[np.bool_]:
        """Tell whether the IoU of each sample is a hit at the threshold, (N,); NaN never is."""
        hit: NDArray[np.bool_] = self.iou >= threshold if self.protocol.comparison == ">=" else self.iou > threshold
        return hit
