"""Scores of integers and of binary masks: pure functions of numpy arrays, no torch.

Shape legend: `N` samples, the last axis of a count array is (truth, prediction, intersection) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.areas import Areas, Counts
from rrsis_bench.metrics.definitions import metrics_of
from rrsis_bench.metrics.protocols import Protocol, get
from rrsis_bench.nearest import resize_mask


def scores(counts: NDArray[Any], protocol: Protocol | str) -> dict[str, float]:
    """Compute all metrics of one view's counts.

    Args:
        counts: (N, 3) integers: truth, prediction and intersection in pixels.
        protocol: a protocol or its name.

    Returns:
        every metric of the protocol as a fraction 0..1 (NaN where the protocol says so), and `n` samples, `n_empty` of
        which have an empty truth.

    Raises:
        UserError: see `Areas`.
    """
    areas = Areas(counts, protocol)
    found: dict[str, float] = {name: metric.score(areas) for name, metric in metrics_of(protocol).items()}
    return {**found, "n": len(areas.truth), "n_empty": int((areas.truth == 0).sum())}


def counts_from_masks(truth: NDArray[Any], pred: NDArray[Any]) -> Counts:
    """Count truth, prediction and intersection of two masks (H, W); any value other than 0 is foreground.

    Returns:
        (3,) int64.

    Raises:
        UserError: the masks differ in size, or are not two-dimensional.
    """
    here, there = np.asarray(truth), np.asarray(pred)
    if here.ndim != 2 or here.shape != there.shape:
        raise UserError(f"truth {here.shape} and prediction {there.shape} must be two masks (H, W) of one size.")
    here, there = here != 0, there != 0
    return np.array([here.sum(), there.sum(), (here & there).sum()], dtype=np.int64)


def counts_under(truth: NDArray[Any], pred: NDArray[Any], protocol: Protocol | str) -> Counts:
    """Count two binary masks after bringing both to the protocol's size with exact nearest.

    Returns:
        (3,) int64.
    """
    size = (get(protocol) if isinstance(protocol, str) else protocol).view.size
    if size == "native":
        return counts_from_masks(truth, pred)
    return counts_from_masks(resize_mask(np.asarray(truth), size), resize_mask(np.asarray(pred), size))


def score_masks(
    truths: Sequence[NDArray[Any]], preds: Sequence[NDArray[Any]], protocol: Protocol | str
) -> dict[str, float]:
    """Score the binary masks of any framework by a protocol's rules.

    Args:
        truths: true masks (H, W), one per sample; sizes may differ between samples.
        preds: predicted masks, each of its truth's size.
        protocol: a protocol or its name.

    Returns:
        what `scores` returns.

    Raises:
        UserError: another number of predictions than truths, a mask of another size, or no masks at all.
    """
    if len(truths) != len(preds):
        raise UserError(f"{len(preds)} predictions for {len(truths)} truths: give exactly one for each.")
    rows = [counts_under(truth, pred, protocol) for truth, pred in zip(truths, preds, strict=True)]
    return scores(np.stack(rows) if rows else np.zeros((0, 3), np.int64), protocol)
