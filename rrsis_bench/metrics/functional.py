"""All metrics from integers: pure functions of numpy arrays, no torch.

Shape legend: `N` samples, the last axis of a count array is (truth, prediction, intersection) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import MAP_THRESHOLDS, THRESHOLDS, EmptyUnion, Protocol, get
from rrsis_bench.nearest import resize_mask

Counts = NDArray[np.int64]

METRICS: tuple[str, ...] = ("miou", "oiou", *THRESHOLDS, "map_pr", "dice")
"""Names of the metrics, in table order; all are fractions 0..1."""

NOT_FINITE = -1
"""What the counting puts in place of each integer of a sample whose logits are not finite."""


def validate(counts: NDArray[Any]) -> Counts:
    """Check an (N, 3) array of counts.

    Raises:
        UserError: wrong shape or type, no samples, logits that were not finite, or integers no masks can have.
    """
    array = np.asarray(counts)
    if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"counts must be integers of shape (N, 3), not {array.dtype} of shape {array.shape}.")
    if not len(array):
        raise UserError("there are no samples to score: the split is empty.")
    array = array.astype(np.int64)
    bad = np.flatnonzero((array < 0).any(axis=1))
    if bad.size:
        raise UserError(
            f"logits of {bad.size} of {len(array)} samples are NaN or infinite (first at row {bad[0]}); "
            "nothing was scored. Check the checkpoint, or score it with trainer.precision 32-true."
        )
    wrong = np.flatnonzero(array[:, 2] > array[:, :2].min(axis=1))
    if wrong.size:
        raise UserError(f"row {wrong[0]} of the counts has an intersection larger than one of its masks.")
    return array


def _ratio(numerator: Counts, denominator: Counts, empty: EmptyUnion) -> NDArray[np.float64]:
    # One correctly rounded float64 division, so that comparing with a literal such as 0.7 decides as the exact
    # fraction would: 7/10 and 0.7 round to the same number, and no union is large enough to blur a neighbour.
    value = {"one_if_both_empty": 1.0, "zero": 0.0, "nan": np.nan}[empty]
    result = np.full(len(numerator), value, dtype=np.float64)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def per_sample_iou(counts: Counts, protocol: Protocol | str) -> NDArray[np.float64]:
    """IoU of each sample, (N,); what an empty union gives is the protocol's convention."""
    rule = get(protocol) if isinstance(protocol, str) else protocol
    truth, pred, inter = counts.T
    return _ratio(inter, truth + pred - inter, rule.empty_union)


def per_sample_dice(counts: Counts, protocol: Protocol | str) -> NDArray[np.float64]:
    """Dice coefficient 2 I / (T + P) of each sample, (N,); empty masks as for the IoU."""
    rule = get(protocol) if isinstance(protocol, str) else protocol
    truth, pred, inter = counts.T
    return _ratio(2 * inter, truth + pred, rule.empty_union)


def reaches(iou: NDArray[np.float64], threshold: float, protocol: Protocol) -> NDArray[np.bool_]:
    """Whether each IoU counts as a hit at the threshold; NaN never does."""
    hit: NDArray[np.bool_] = iou >= threshold if protocol.comparison == ">=" else iou > threshold
    return hit


def sample_values(counts: Counts, protocol: Protocol | str) -> dict[str, NDArray[np.float64]]:
    """Per-sample values whose mean is the metric: every metric but `oiou`. Each (N,)."""
    rule = get(protocol) if isinstance(protocol, str) else protocol
    iou = per_sample_iou(counts, rule)
    values = {"miou": iou}
    for name, threshold in THRESHOLDS.items():
        values[name] = reaches(iou, threshold, rule).astype(np.float64)
    hits = sum(reaches(iou, threshold, rule).astype(np.int64) for threshold in MAP_THRESHOLDS)
    values["map_pr"] = np.asarray(hits, dtype=np.float64) / len(MAP_THRESHOLDS)
    values["dice"] = per_sample_dice(counts, rule)
    return values


def scores(counts: NDArray[Any], protocol: Protocol | str) -> dict[str, float]:
    """All metrics of one view's counts.

    Args:
        counts: (N, 3) integers: truth, prediction and intersection in pixels.
        protocol: a protocol or its name.

    Returns:
        `miou`, `oiou`, `pr50` ... `pr90`, `map_pr`, `dice` as fractions 0..1 (NaN where the protocol says so), and
        `n` samples, `n_empty` of which have an empty truth.

    Raises:
        UserError: see `validate`.
    """
    rule = get(protocol) if isinstance(protocol, str) else protocol
    checked = validate(counts)
    truth, pred, inter = (int(total) for total in checked.sum(axis=0))
    overall = _ratio(np.array([inter]), np.array([truth + pred - inter]), rule.empty_union)
    values = {name: float(np.mean(value)) for name, value in sample_values(checked, rule).items()}
    values["oiou"] = float(overall[0])
    ordered: dict[str, float] = {name: values[name] for name in METRICS}
    ordered["n"] = len(checked)
    ordered["n_empty"] = int((checked[:, 0] == 0).sum())
    return ordered


def counts_from_masks(truth: NDArray[Any], pred: NDArray[Any]) -> Counts:
    """Truth, prediction and intersection in pixels of two masks (H, W); any value other than 0 is foreground.

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
    """Counts of two binary masks under a protocol's size rule: both are brought to its size with exact nearest.

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
    """Score binary masks, from whatever framework, by a protocol's rules.

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
