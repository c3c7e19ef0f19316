"""Intervals: resampled by image, overall IoU as a ratio of sums, the same every time."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.metrics.functional import scores
from rrsis_bench.stats.bootstrap import SEED, exactly_summable, intervals, resample


@pytest.mark.parametrize("sizes", [[2] * 10, [1, 1, 1, 2, 2, 3, 10], [19, 1]])
def test_equal_to_a_plain_loop_over_resampled_images(sizes):
    """Where clusters differ in size, the number of samples drawn varies: a mean is over those drawn."""
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 50, 20)
    inter = (truth * rng.random(20)).astype(np.int64)
    counts = np.stack([truth, inter + 3, inter], axis=1)
    images = [f"i{k}" for k, size in enumerate(sizes) for _ in range(size)]
    found = intervals({"native-v1": counts}, images, resamples=200)["native-v1"]
    members = [np.flatnonzero(np.array(images) == name) for name in sorted(set(images))]
    draws = np.random.default_rng(SEED).integers(0, len(members), (200, len(members)))
    values = [scores(np.concatenate([counts[members[i]] for i in draw]), "native-v1") for draw in draws]
    for metric in METRICS:
        expected = np.quantile([value[metric] for value in values], [0.025, 0.975])
        assert found[metric] == pytest.approx(tuple(expected), abs=1e-12)


def test_repeating_expressions_of_an_image_does_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    truth = rng.integers(10, 50, 30)
    inter = (truth * rng.random(30)).astype(np.int64)
    counts = np.stack([truth, truth, inter], axis=1)
    images = [f"i{k}" for k in range(30)]
    once = intervals({"native-v1": counts}, images)["native-v1"]
    thrice = intervals({"native-v1": np.repeat(counts, 3, axis=0)}, list(np.repeat(images, 3)))["native-v1"]
    assert once["miou"] == pytest.approx(thrice["miou"], abs=1e-12)


def test_fixed_seed_gives_the_same_numbers_and_chunks_do_not_matter():
    values = np.arange(12.0).reshape(6, 2)
    ((first, drawn),) = resample([values], list("aabbcd"), resamples=600)
    assert np.array_equal(first, resample([values], list("aabbcd"), resamples=600)[0][0])
    assert np.array_equal(first[:300], resample([values], list("aabbcd"), resamples=300)[0][0])
    assert set(drawn.tolist()) == {4.0, 5.0, 6.0, 7.0, 8.0}, "a and b hold two samples each, c and d one"


def test_sums_are_exact_whatever_the_order_of_adding():
    """Processors add in orders of their own. Here the draws are added one by one, last first."""
    values = np.random.default_rng(3).random((60, 2)) * [1.0, 1e7]
    ((found, _),) = resample([values], [f"i{k:02d}" for k in range(60)], resamples=50)
    assert found.mean(axis=0) == pytest.approx(60 * values.mean(axis=0), rel=0.05)
    draws = np.random.default_rng(SEED).integers(0, 60, (50, 60))
    rounded = exactly_summable(values)
    assert rounded == pytest.approx(values, rel=1e-10)
    for sums, draw in zip(found, draws, strict=True):
        total = np.zeros(2)
        for cluster in reversed(draw.tolist()):
            total += rounded[cluster]
        assert total.tolist() == sums.tolist()


def test_integers_are_summed_as_they_are_and_nan_stays_in_its_column():
    areas = np.array([[3.0, np.nan, 0.0], [2**40 + 1.0, 1.0, 0.0]])
    assert np.array_equal(exactly_summable(areas), areas, equal_nan=True)


@pytest.mark.parametrize("processor", ["Prescott", "Nehalem", "Haswell"])
def test_every_processor_gives_the_same_intervals(processor):
    """OpenBLAS, which numpy's wheels bring, takes the named processor's way of adding; others ignore the variable."""
    code = (
        "import numpy as np; from rrsis_bench.stats.bootstrap import intervals; rng = np.random.default_rng(5); "
        "truth = rng.integers(1, 9999, 500); inter = (truth * rng.random(500)).astype(int); "
        "print(intervals({'native-v1': np.stack([truth, truth, inter], 1)}, [f'i{k // 2}' for k in range(500)]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **more}
        ).stdout
        for more in ({}, {"OPENBLAS_CORETYPE": processor})
    }
    assert len(outputs) == 1


def test_no_interval_from_one_image_or_from_nan():
    counts = np.array([[10, 10, 5], [10, 10, 6], [0, 0, 0]])
    assert intervals({"native-v1": counts}, ["a"] * 3)["native-v1"]["miou"] is None
    found = intervals({"paper-rsrefseg2-v1": counts}, list("abc"), resamples=50)["paper-rsrefseg2-v1"]
    assert found["miou"] is None
    assert found["pr50"] is not None
