"""Candidates for wrong labels: samples on which different methods agree with each other and not with the truth.

A function of masks alone; `rrsis_bench.engine.audit` makes the predictions and the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

AGREE = 0.7
"""Each two predictions of a candidate have a larger IoU than this."""
DISAGREE = 0.3
"""Each prediction of a candidate has a smaller IoU with the truth than this."""


@dataclass(frozen=True)
class Verdict:
    """What the masks of a sample say of its label.

    Attributes:
        agreement: the smallest IoU of two predictions.
        with_truth: the largest IoU of a prediction with the truth.
        consensus: (H, W) bool, True where more than half of the predictions are foreground.
    """

    agreement: float
    with_truth: float
    consensus: NDArray[np.bool_]

    @property
    def is_candidate(self) -> bool:
        """Whether the methods agree on something that the truth is not."""
        return self.agreement > AGREE and self.with_truth < DISAGREE and bool(self.consensus.any())

    @property
    def gap(self) -> float:
        """By how much the methods agree more with each other than with the truth."""
        return self.agreement - self.with_truth


def iou(here: NDArray[Any], there: NDArray[Any]) -> float:
    """IoU of two masks (H, W); 1 if both are empty, as under `native-v1`."""
    union = int(np.count_nonzero((here != 0) | (there != 0)))
    return int(np.count_nonzero((here != 0) & (there != 0))) / union if union else 1.0


def judge(truth: NDArray[Any], predictions: Sequence[NDArray[Any]]) -> Verdict:
    """Judge one sample.

    Methods that find nothing name no other object: if all do, the sample is no candidate.

    Args:
        truth: (H, W) annotated mask.
        predictions: masks (H, W) of two methods or more.
    """
    votes = np.sum([mask != 0 for mask in predictions], axis=0)
    return Verdict(
        agreement=min(iou(here, there) for here, there in combinations(predictions, 2)),
        with_truth=max(iou(mask, truth) for mask in predictions),
        consensus=2 * votes > len(predictions),
    )
