"""Integers from logits: every view against a plain per-sample computation with the tools the papers use."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from helpers.batches import make_batch, smooth_logits
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.functional import scores
from rrsis_bench.metrics.metric import SampleCounts
from rrsis_bench.metrics.protocols import DETRIS_WARP, LAVT_480, NATIVE, PROTOCOLS, views
from rrsis_bench.types import Batch

ALL = (NATIVE, LAVT_480, DETRIS_WARP)


def ints(truth, pred):
    truth, pred = np.asarray(truth) != 0, np.asarray(pred) != 0
    return [int(truth.sum()), int(pred.sum()), int((truth & pred).sum())]


SIZES = [(50, 70), (64, 64), (50, 70), (512, 512), (33, 20)]


def test_native_and_480_equal_a_plain_computation_per_sample():
    batch, logits = make_batch(SIZES), smooth_logits(5, 24, 24)
    found = count(logits, batch, (32, 32), ALL)
    assert found.dtype == torch.int64
    assert found.shape == (5, 3, 3)
    for i, (h, w) in enumerate(SIZES):
        truth = batch.truths[i, :h, :w].numpy()
        native = F.interpolate(logits[i : i + 1], size=(h, w), mode="bilinear", align_corners=False)[0, 0].sigmoid()
        assert found[i, 0].tolist() == ints(truth, native > 0.5)
        at_480 = F.interpolate(logits[i : i + 1], size=(480, 480), mode="bilinear", align_corners=True)[0, 0]
        two_classes = torch.stack([torch.zeros_like(at_480), at_480])
        small = np.asarray(Image.fromarray(truth).resize((480, 480), Image.Resampling.NEAREST))
        assert found[i, 1].tolist() == ints(small, two_classes.argmax(0))


def test_detris_view_warps_probabilities_as_opencv_does():
    batch, logits = make_batch(SIZES), smooth_logits(5, 16, 16)
    found = count(logits, batch, (64, 64), [DETRIS_WARP])[:, 0]
    at_input = F.interpolate(logits.sigmoid(), size=(64, 64), mode="bicubic", align_corners=True)[:, 0].numpy()
    for i, (h, w) in enumerate(SIZES):
        matrix = np.array([[w / 64, 0, 0], [0, h / 64, 0]])
        warped = cv2.warpAffine(at_input[i], matrix, (w, h), flags=cv2.INTER_CUBIC, borderValue=0.0)
        expected = ints(batch.truths[i, :h, :w], warped > 0.35)
        # OpenCV rounds coordinates to 1/32 pixel, which may move single border pixels.
        assert np.abs(found[i].numpy() - expected).max() <= max(3, 0.003 * h * w)


def test_logits_of_input_size_are_not_resampled_for_detris_at_that_size():
    batch, logits = make_batch([(40, 40)]), torch.randn(1, 1, 40, 40)
    expected = ints(batch.truths[0], logits[0, 0].sigmoid() > 0.35)
    assert count(logits, batch, (40, 40), [DETRIS_WARP])[0, 0].tolist() == expected


@pytest.mark.parametrize("view", ALL, ids=lambda view: view.name)
def test_padding_of_truths_never_counts(view):
    clean, junk = make_batch(SIZES), make_batch(SIZES, junk=True)
    logits = smooth_logits(5, 24, 24)
    assert torch.equal(count(logits, clean, (32, 32), [view]), count(logits, junk, (32, 32), [view]))


def test_order_and_company_of_samples_do_not_matter():
    batch, logits = make_batch(SIZES), smooth_logits(5, 24, 24)
    whole = count(logits, batch, (32, 32), ALL)
    for i, size in enumerate(SIZES):
        alone = make_batch([size])
        alone = Batch(**{**alone.__dict__, "truths": batch.truths[i : i + 1]})
        assert torch.equal(count(logits[i : i + 1], alone, (32, 32), ALL)[0], whole[i])


def test_zero_logits_are_background_and_tiny_ones_are_not():
    batch = make_batch([(8, 8)])
    assert count(torch.zeros(1, 1, 8, 8), batch, (8, 8), [NATIVE, LAVT_480])[0, :, 1].tolist() == [0, 0]
    tiny = torch.full((1, 1, 8, 8), 1e-20)
    assert count(tiny, batch, (8, 8), [NATIVE, LAVT_480])[0, :, 1].tolist() == [64, 480 * 480]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_an_error_and_not_background(bad):
    batch, logits = make_batch([(8, 8), (8, 8), (9, 9)]), torch.randn(3, 1, 8, 8)
    logits[1, 0, 3, 3] = bad
    counted = count(logits, batch, (8, 8), ALL)
    assert (counted[1] == -1).all()
    assert (counted[[0, 2]] >= 0).all()
    metric = SampleCounts()
    metric.update(batch.indices, counted)
    with pytest.raises(UserError, match="sample 1 of the split"):
        metric.compute()
    with pytest.raises(UserError, match="NaN or infinite"):
        scores(counted[:, 0].numpy(), "native-v1")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_float_type_is_scored_in_float32(dtype):
    batch, logits = make_batch(SIZES), smooth_logits(5, 24, 24).to(dtype)
    assert torch.equal(count(logits, batch, (32, 32), ALL), count(logits.float(), batch, (32, 32), ALL))


def test_unfit_input_is_refused():
    batch = make_batch([(8, 8)])
    with pytest.raises(UserError, match=r"must have shape \(1, 1, h, w\)"):
        count(torch.zeros(1, 2, 8, 8), batch, (8, 8), ALL)
    with pytest.raises(UserError, match="without native truths"):
        count(torch.zeros(1, 1, 8, 8), Batch(**{**batch.__dict__, "truths": None}), (8, 8), ALL)


def test_views_are_shared_between_protocols():
    assert [view.name for view in views(PROTOCOLS)] == ["native", "480", "warp35", "1024", "320"]
    assert views(["paper-rsrefseg2-v1", "native-v1"]) == (NATIVE,)


def test_repeated_samples_count_once_and_come_back_sorted():
    metric = SampleCounts()
    rows = torch.arange(12).reshape(4, 1, 3)
    metric.update(torch.tensor([3, 1]), rows[[3, 1]])
    metric.update(torch.tensor([1, 0]), rows[[1, 0]])
    indices, counts = metric.compute()
    assert indices.tolist() == [0, 1, 3]
    assert torch.equal(counts, rows[[0, 1, 3]])


def test_metric_without_samples_gives_empty_arrays():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indices, counts = SampleCounts().compute()
    assert len(indices) == 0
    assert counts.shape == (0, 0, 3)
