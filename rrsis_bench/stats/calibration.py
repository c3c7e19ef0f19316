"""What histograms of probability say: IoU at any threshold, calibration, and the best thresholds.

Shape legend: `N` samples, `K` bins (`metrics.detail.BINS`), `T` thresholds, `R` rows of histograms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.areas import divide
from rrsis_bench.metrics.detail import BINS

THRESHOLDS = tuple(k / BINS for k in range(1, BINS))
"""Foreground is where the probability is above the threshold."""

CONFIDENCE = (np.arange(BINS) + 0.5) / BINS
"""The middle of each bin stands for the probability of its pixels: a mean is off by at most half a bin, 0.025."""


def split(hist: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two halves (R, K) of histograms (R, 2 K): pixels outside and inside the truth."""
    return hist[:, :BINS], hist[:, BINS:]


def iou_by_threshold(hist: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of every sample at every threshold, (N, T); 1 where truth and prediction are both empty.

    Args:
        hist: (N, 2 K) pixels outside and inside the truth, by bin.
    """
    outside, inside = (np.cumsum(half[:, ::-1], axis=1)[:, -2::-1] for half in split(hist))
    truth = split(hist)[1].sum(axis=1, keepdims=True)
    return divide(inside, truth + outside, "one_if_both_empty")


def best_threshold(hist: NDArray[np.int64]) -> float:
    """The threshold with the best mean IoU; of several, the one nearest to 0.5, then the smaller one."""
    means = iou_by_threshold(hist).mean(axis=0)
    best = [t for t, mean in zip(THRESHOLDS, means, strict=True) if mean >= means.max() - 1e-12]
    return min(best, key=lambda threshold: (abs(threshold - 0.5), threshold))


def oracle(hist: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of every sample at the threshold that suits it best, (N,): what a threshold for each sample could give."""
    found: NDArray[np.float64] = iou_by_threshold(hist).max(axis=1)
    return found


def calibration_error(hist: NDArray[Any]) -> NDArray[np.float64]:
    """Expected calibration error over pixels, (R,): the mean gap between probability and share of true pixels.

    Guo et al. 2017, equation 3, of the binary task: the probability of foreground against its frequency.

    Args:
        hist: (R, 2 K) sums of histograms over samples.
    """
    outside, inside = (half.astype(np.float64) for half in split(hist))
    pixels = outside + inside
    gaps = np.abs(inside - CONFIDENCE * pixels).sum(axis=1)
    return divide(gaps, pixels.sum(axis=1), "nan")


def average_precision(hist: NDArray[Any]) -> NDArray[np.float64]:
    """Area under the precision-recall curve of pixels, (R,), in steps of the bins; NaN without true pixels.

    Args:
        hist: (R, 2 K) sums of histograms over samples.
    """
    outside, inside = (half[:, ::-1].astype(np.float64) for half in split(hist))
    right = np.cumsum(inside, axis=1)
    precision = divide(right, right + np.cumsum(outside, axis=1), "zero")
    return divide((precision * inside).sum(axis=1), inside.sum(axis=1), "nan")


def reliability(hist: NDArray[Any]) -> list[dict[str, float | int | None]]:
    """The points of a reliability diagram.

    Args:
        hist: (2 K,) sums of histograms over samples.

    Returns:
        for each bin: `probability` (its middle), `n` pixels, and `share` of them inside the truth (None for no pixels).
    """
    outside, inside = (half[0] for half in split(hist[None]))
    return [
        {
            "probability": float(CONFIDENCE[k]),
            "n": int(outside[k] + inside[k]),
            "share": float(inside[k] / (outside[k] + inside[k])) if outside[k] + inside[k] else None,
        }
        for k in range(BINS)
    ]
