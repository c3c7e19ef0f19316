"""Metrics from integers against a naive per-pixel reference, and every edge case the protocols name."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.functional import (
    counts_from_masks,
    counts_under,
    score_masks,
    scores,
)
from rrsis_bench.metrics.protocols import PROTOCOLS, get

NAMES = sorted(name for name, one in PROTOCOLS.items() if not one.generalised)
STRICT = {"paper-rsrefseg2-v1", "paper-detris-v1"}


def reference(truths, preds, name):
    """The published rules in exact fractions, pixel by pixel, for masks already at the protocol's size."""
    ious, inters, unions = [], 0, 0
    for truth, pred in zip(truths, preds, strict=True):
        inter = union = 0
        for row_t, row_p in zip(truth, pred, strict=True):
            for t, p in zip(row_t, row_p, strict=True):
                inter += bool(t and p)
                union += bool(t or p)
        inters, unions = inters + inter, unions + union
        empty = {"native-v1": Fraction(1), "paper-rsrefseg2-v1": None}.get(name, Fraction(0))
        ious.append(Fraction(inter, union) if union else empty)

    def share(threshold):
        hits = [v is not None and (v > threshold if name in STRICT else v >= threshold) for v in ious]
        return sum(hits) / len(hits)

    every = {f"pr{x}": share(Fraction(x, 100)) for x in (50, 60, 70, 80, 90)}
    every["map_pr"] = sum(share(Fraction(x, 100)) for x in range(50, 100, 5)) / 10
    every["miou"] = math.nan if None in ious else float(sum(ious) / len(ious))
    nothing = {"native-v1": 1.0, "paper-rsrefseg2-v1": math.nan}.get(name, 0.0)
    every["oiou"] = inters / unions if unions else nothing
    return every


masks = st.integers(1, 5).flatmap(
    lambda h: st.integers(1, 5).flatmap(
        lambda w: st.tuples(
            *[st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=h, max_size=h) for _ in range(2)]
        )
    )
)


@pytest.mark.parametrize("name", [name for name in NAMES if get(name).view.size == "native"])
@given(st.lists(masks, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_equal_to_naive_reference(name, pairs):
    truths = [np.array(truth, np.uint8) for truth, _ in pairs]
    preds = [np.array(pred, np.uint8) for _, pred in pairs]
    expected = reference(truths, preds, name)
    found = score_masks(truths, preds, name)
    for metric, value in expected.items():
        assert found[metric] == pytest.approx(value, abs=1e-12, nan_ok=True), metric
    assert found["n"] == len(pairs)
    assert found["n_empty"] == sum(not truth.any() for truth in truths)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_pr_decides_as_exact_fractions_do(rows):
    counts = np.array([[i + a, i + b, i] for a, b, i in rows])
    for name in NAMES:
        found = scores(counts, name)
        for x in (50, 60, 70, 80, 90):
            hits = 0
            for t, p, i in counts.tolist():
                union = t + p - i
                iou = Fraction(i, union) if union else (Fraction(1) if name == "native-v1" else Fraction(0))
                hits += iou > Fraction(x, 100) if name in STRICT else iou >= Fraction(x, 100)
            assert found[f"pr{x}"] == pytest.approx(hits / len(counts), abs=1e-12)


@pytest.mark.parametrize("fraction", [(1, 2, 50), (3, 5, 60), (7, 10, 70), (4, 5, 80), (9, 10, 90)])
@pytest.mark.parametrize("scale", [1, 3, 49, 1000, 99_991])
@pytest.mark.parametrize("name", NAMES)
def test_iou_exactly_on_a_threshold(name, fraction, scale):
    inter, union, percent = fraction
    on_it = np.array([[union * scale, inter * scale, inter * scale]])
    step = np.array([[0, 1, 1]])
    assert scores(on_it, name)[f"pr{percent}"] == (0.0 if name in STRICT else 1.0)
    assert scores(on_it + step, name)[f"pr{percent}"] == 1.0
    assert scores(on_it - step, name)[f"pr{percent}"] == 0.0


@pytest.mark.parametrize(
    ("name", "iou"),
    [
        ("native-v1", 1.0),
        ("paper-lavt480-v1", 0.0),
        ("paper-rsrefseg2-v1", math.nan),
        ("paper-detris-v1", 0.0),
        ("paper-rs2sam2-v1", 0.0),
        ("paper-c3vg-v1", 0.0),
    ],
)
def test_both_empty(name, iou):
    found = scores(np.array([[0, 0, 0]]), name)
    for metric in ("miou", "oiou", "dice"):
        assert found[metric] == pytest.approx(iou, nan_ok=True)
    assert found["pr50"] == found["map_pr"] == (1.0 if iou == 1.0 else 0.0)
    assert (found["n"], found["n_empty"]) == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_empty_truth_with_a_prediction_scores_zero(name):
    found = scores(np.array([[0, 7, 0]]), name)
    assert found["miou"] == found["oiou"] == found["dice"] == found["pr50"] == 0.0
    assert found["n_empty"] == 1


def test_nan_of_one_sample_makes_the_published_mean_nan_but_only_a_miss_for_pr():
    found = scores(np.array([[0, 0, 0], [10, 10, 10], [10, 10, 10], [10, 0, 0]]), "paper-rsrefseg2-v1")
    assert math.isnan(found["miou"])
    assert found["pr50"] == 0.5
    assert found["oiou"] == pytest.approx(20 / 30)


def test_overall_and_mean_differ_as_defined():
    found = scores(np.array([[100, 100, 100], [1, 1, 0]]), "native-v1")
    assert found["miou"] == 0.5
    assert found["oiou"] == pytest.approx(100 / 102)
    assert found["dice"] == 0.5
    assert found["map_pr"] == 0.5


def test_480_rule_resizes_truth_and_prediction_with_exact_nearest():
    rng = np.random.default_rng(0)
    truth, pred = (rng.integers(0, 2, (512, 300), dtype=np.uint8) for _ in range(2))
    small = [np.asarray(Image.fromarray(mask).resize((480, 480), Image.Resampling.NEAREST)) for mask in (truth, pred)]
    assert counts_under(truth, pred, "paper-lavt480-v1").tolist() == counts_from_masks(*small).tolist()
    assert counts_under(truth, pred, "native-v1").tolist() == counts_from_masks(truth, pred).tolist()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0, 3), int), "no samples"),
        (np.array([[1, 1, 1], [-1, -1, -1]]), "NaN or infinite"),
        (np.array([[1, 5, 2]]), "intersection larger"),
        (np.array([[1.0, 1.0, 1.0]]), "integers"),
        (np.array([1, 2, 3]), "shape"),
    ],
)
def test_impossible_counts_are_refused(counts, message):
    with pytest.raises(UserError, match=message):
        scores(counts, "native-v1")


def test_masks_that_cannot_be_scored_are_refused():
    with pytest.raises(UserError, match="one size"):
        score_masks([np.ones((2, 2))], [np.ones((2, 3))], "native-v1")
    with pytest.raises(UserError, match="exactly one"):
        score_masks([np.ones((2, 2))], [], "native-v1")
    with pytest.raises(UserError, match="no samples"):
        score_masks([], [], "native-v1")


def test_unknown_protocol_names_the_known():
    with pytest.raises(UsageError, match=r"Did you mean 'native-v1'.*paper-detris-v1"):
        get("native")
