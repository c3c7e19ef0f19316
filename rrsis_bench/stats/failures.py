"""Says of each prediction what it is: right, rough, spread over several objects, on another object, or a miss.

Shape legend: `N` samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.metrics.areas import divide

KINDS = ("right", "rough", "spread", "wrong instance", "missed")
"""What a prediction can be, from good to bad; `MEANING` defines each."""

RIGHT = 0.5
"""The least IoU of a right prediction."""

MEANING: Mapping[str, str] = {
    "right": "the IoU is 0.5 or more",
    "rough": "the prediction touches the referent, but the IoU is below 0.5",
    "spread": "it covers at least half of the referent and more than half of another instance",
    "wrong instance": "more than half of it lies in one other instance, which it fits better than the referent",
    "missed": "nothing is predicted, or nothing of the referent",
}


def attribute(counts: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    """Attribute each prediction to a kind.

    The first kind that fits is taken, in the order right, wrong instance, missed, spread, rough. Where no other
    instance is known, no prediction is spread or on a wrong instance.

    Args:
        counts: (N, 3) native areas of truth, prediction and intersection in pixels.
        others: (N, 3) the columns `other_most`, `other_area`, `other_covered` of `metrics.detail`.

    Returns:
        (N,) index into `KINDS`.
    """
    truth, pred, inter = np.asarray(counts, np.int64).T
    most, area, covered = np.asarray(others, np.int64).T
    iou = divide(inter, truth + pred - inter, "one_if_both_empty")
    of_other = divide(most, area + pred - most, "zero")
    decided = [
        iou >= RIGHT,
        (2 * most > pred) & (of_other > iou),
        inter == 0,
        (2 * inter >= truth) & (covered > 0),
    ]
    places = [KINDS.index(kind) for kind in ("right", "wrong instance", "missed", "spread")]
    found: NDArray[np.int64] = np.select(decided, places, KINDS.index("rough")).astype(np.int64)
    return found
