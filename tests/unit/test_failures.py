"""Attribution of made-up predictions whose kind is known, and what histograms say, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from rrsis_bench.metrics.detail import BINS
from rrsis_bench.stats import calibration
from rrsis_bench.stats.failures import KINDS, MEANING, attribute

REFERENT, RIVAL, LOT = (slice(0, 10), slice(0, 10)), (slice(0, 10), slice(20, 30)), (slice(0, 20), slice(0, 20))


def kind(truth, pred, others):
    """The kind of a prediction (slices that it is the union of) on a referent among others."""

    def mask(*parts):
        found = np.zeros((40, 40), bool)
        for part in parts:
            found[part] = True
        return found

    here, said, there = mask(truth), mask(*pred), [mask(other) for other in others]
    inters = [int((said & other).sum()) for other in there]
    best = int(np.argmax(inters)) if inters else None
    beyond = [(int((said & other & ~here).sum()), int((other & ~here).sum())) for other in there]
    row = [0, 0, 0] if best is None else [inters[best], int(there[best].sum()), sum(2 * a > b for a, b in beyond)]
    counts = [[here.sum(), said.sum(), (here & said).sum()]]
    return KINDS[int(attribute(np.array(counts), np.array([row]))[0])]


@pytest.mark.parametrize(
    ("pred", "others", "expected"),
    [
        ([REFERENT], [RIVAL], "right"),
        ([(slice(0, 10), slice(0, 5))], [RIVAL], "right"),  # exactly half: an IoU of 0.5
        ([(slice(0, 10), slice(0, 4))], [RIVAL], "rough"),
        ([(slice(0, 24), slice(0, 10))], [RIVAL], "rough"),  # too large, over the ground only
        ([], [RIVAL], "missed"),
        ([(slice(30, 40), slice(30, 40))], [RIVAL], "missed"),
        ([RIVAL], [RIVAL], "wrong instance"),
        ([RIVAL], [], "missed"),  # the same prediction where nobody knows of the other instance
        ([RIVAL, (slice(0, 3), slice(0, 10))], [RIVAL], "wrong instance"),
        ([(slice(0, 10), slice(0, 30))], [RIVAL], "spread"),
        ([(slice(0, 40), slice(0, 40))], [RIVAL], "spread"),
        ([(slice(0, 3), slice(0, 10)), (slice(0, 10), slice(20, 26)), (slice(12, 20), slice(0, 10))], [RIVAL], "rough"),
        ([LOT], [LOT], "wrong instance"),  # the parking lot around the vehicle
        ([(slice(0, 16), slice(0, 16))], [LOT], "wrong instance"),
        ([(slice(0, 10), slice(0, 21))], [(slice(0, 40), slice(0, 40))], "rough"),  # too large, in a vast field
    ],
)
def test_made_up_predictions_have_their_kind(pred, others, expected):
    assert kind(REFERENT, pred, others) == expected


def test_empty_truths_and_meanings():
    counts = np.array([[0, 0, 0], [0, 5, 0]])
    assert [KINDS[k] for k in attribute(counts, np.zeros((2, 3), int))] == ["right", "missed"]
    assert tuple(MEANING) == KINDS


@pytest.fixture
def pixels():
    """(N, P) probabilities in the middle of bins, and truths, with their histograms (N, 2 K)."""
    rng = np.random.default_rng(3)
    bins, truth = rng.integers(0, BINS, (6, 500)), rng.random((6, 500)) < 0.3
    bins[1] = np.where(truth[1], 12, 5)  # every threshold from 0.3 to 0.6 is perfect here
    truth[2] = False
    bins[2] = 0
    hist = np.stack(
        [np.bincount(row + BINS * inside, minlength=2 * BINS) for row, inside in zip(bins, truth, strict=True)]
    )
    return (bins + 0.5) / BINS, truth, hist


def test_iou_at_every_threshold_and_oracle(pixels):
    probability, truth, hist = pixels
    found = calibration.iou_by_threshold(hist)
    for place, threshold in enumerate(calibration.THRESHOLDS):
        pred = probability > threshold
        inter, union = (pred & truth).sum(axis=1), (pred | truth).sum(axis=1)
        expected = np.where(union > 0, inter / np.maximum(union, 1), 1.0)
        np.testing.assert_allclose(found[:, place], expected, err_msg=str(threshold))
    np.testing.assert_allclose(calibration.oracle(hist), found.max(axis=1))
    means = found.mean(axis=0)
    assert means[calibration.THRESHOLDS.index(calibration.best_threshold(hist))] == means.max()
    assert calibration.best_threshold(hist[1:2]) == 0.5, "of equally good thresholds, the one nearest to 0.5"


def test_calibration_error_and_average_precision(pixels):
    probability, truth, hist = pixels
    whole = hist.sum(axis=0)[None]
    gap = 0.0
    for value in np.unique(probability):
        here = probability == value
        gap += here.mean() * abs(truth[here].mean() - value)
    assert calibration.calibration_error(whole)[0] == pytest.approx(gap)
    expected, recall = 0.0, 0.0
    for value in np.unique(probability)[::-1]:
        pred = probability >= value
        share = (pred & truth).sum() / truth.sum()
        expected, recall = expected + (share - recall) * (pred & truth).sum() / pred.sum(), share
    assert calibration.average_precision(whole)[0] == pytest.approx(expected)
    points = calibration.reliability(whole[0])
    assert sum(point["n"] for point in points) == truth.size
    assert points[3]["share"] == pytest.approx(truth[np.isclose(probability, points[3]["probability"])].mean())
