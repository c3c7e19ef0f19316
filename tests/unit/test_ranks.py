"""Comparisons: paired, clustered by image, held against scipy; Holm by hand; ranks shared where chance decides."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from rrsis_bench.errors import UserError
from rrsis_bench.stats.bootstrap import SEED, intervals, percentile_interval
from rrsis_bench.stats.paired import RunCounts, bootstrap_p, compare, holm, means, resampled
from rrsis_bench.stats.ranks import Placement, rank_groups


def run(n=200, quality=0.5, seed=0, per_image=1, noise=0.15, name="a run", protocol="native-v1"):
    """Samples whose difficulty is shared by all runs: IoU about `quality` plus the difficulty of the image."""
    shared = np.random.default_rng(99)
    hard = np.repeat(shared.normal(0, 0.15, -(-n // per_image)), per_image)[:n]
    truth = shared.integers(200, 2000, n)
    own = np.random.default_rng((seed, 7)).normal(0, noise, n)
    inter = (truth * np.clip(quality + hard + own, 0.01, 1)).astype(np.int64)
    counts = np.stack([truth, truth, inter], axis=1)
    ids = tuple(f"s{k:06d}" for k in range(n))
    return RunCounts(ids, tuple(f"i{k // per_image:06d}" for k in range(n)), counts, protocol, name)


def ious(one):
    truth, pred, inter = one.counts.T
    return inter / (truth + pred - inter)


def test_difference_is_scipys_paired_bootstrap_where_each_image_is_its_own_cluster():
    a, b = run(120, 0.55, 1), run(120, 0.5, 2)
    found = compare([a], [b], ["miou"], resamples=2000)["miou"]
    theirs = stats.bootstrap(
        (ious(a), ious(b)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        paired=True, n_resamples=2000, batch=250, method="percentile", vectorized=True,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    assert found.difference == pytest.approx(np.mean(ious(a) - ious(b)), abs=1e-12)
    spread = theirs.bootstrap_distribution
    expected = 2 * (min((spread <= 0).sum(), (spread >= 0).sum()) + 1) / 2001
    assert found.p == pytest.approx(min(1.0, expected))


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.02])
def test_p_value_agrees_with_the_paired_t_test_and_the_sign_flip_test_of_scipy(gap):
    a, b = run(300, 0.5 + gap, 3), run(300, 0.5, 4)
    ours = compare([a], [b], ["miou"])["miou"].p
    difference = ious(a) - ious(b)
    flips = stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(0)
    )
    assert ours == pytest.approx(stats.ttest_rel(ious(a), ious(b)).pvalue, abs=0.02)
    assert ours == pytest.approx(flips.pvalue, abs=0.02)


def test_overall_iou_is_scipys_bootstrap_of_a_ratio_of_sums():
    a, b = run(80, 0.6, 1), run(80, 0.5, 2)

    def gap(ia, ua, ib, ub, axis):
        return ia.sum(axis) / ua.sum(axis) - ib.sum(axis) / ub.sum(axis)

    areas = [part for one in (a, b) for part in (one.counts[:, 2], 2 * one.counts[:, 0] - one.counts[:, 2])]
    theirs = stats.bootstrap(
        areas, gap, paired=True, n_resamples=1000, batch=250, method="percentile", vectorized=True,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    found = compare([a], [b], ["oiou"], resamples=1000)["oiou"]
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)


def test_a_single_interval_is_scipys_too():
    one = run(90, 0.5, 5)
    theirs = stats.bootstrap(
        (ious(one),), np.mean, n_resamples=1000, batch=250, method="percentile", rng=np.random.default_rng(SEED)
    )
    found = intervals({"native-v1": one.counts}, one.image_id, resamples=1000)["native-v1"]["miou"]
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)


def test_clusters_are_resampled_whole():
    """With three equal expressions an image the interval is that of the images, not the narrower one of the samples."""
    a, b = run(60, 0.55, 1), run(60, 0.5, 2)
    thrice = [
        RunCounts(
            tuple(f"s{k:06d}" for k in range(180)), tuple(np.repeat(x.image_id, 3)), np.repeat(x.counts, 3, axis=0)
        )
        for x in (a, b)
    ]
    once = compare([a], [b], ["miou"])["miou"]
    assert compare([thrice[0]], [thrice[1]], ["miou"])["miou"].interval == pytest.approx(once.interval, abs=1e-12)


def test_shared_difficulty_cancels_in_a_paired_difference():
    a, b = run(300, 0.52, 1, noise=0.02), run(300, 0.5, 2, noise=0.02)
    single = intervals({"native-v1": a.counts}, a.image_id)["native-v1"]["miou"]
    paired = compare([a], [b], ["miou"])["miou"]
    assert paired.interval[1] - paired.interval[0] < 0.3 * (single[1] - single[0])
    assert paired.p < 0.001


def test_seeds_are_averaged_and_a_method_equals_itself():
    seeds = [run(50, 0.5, k) for k in range(3)]
    spread = resampled([seeds], ["miou", "oiou", "pr50"], resamples=100)
    for metric, values in spread.items():
        each = resampled([[one] for one in seeds], [metric], resamples=100)[metric]
        assert values[0] == pytest.approx(each.mean(axis=0), abs=1e-12)
    same = compare(seeds, seeds)
    assert all(entry.difference == 0 and entry.p == 1 and entry.interval == (0, 0) for entry in same.values())
    assert means(seeds, ["miou"])["miou"] == pytest.approx(np.mean([ious(one).mean() for one in seeds]))


def test_one_image_or_no_number_gives_no_interval_and_no_p():
    lone = RunCounts(("a", "b"), ("i", "i"), np.array([[10, 10, 5], [10, 10, 6]]))
    found = compare([lone], [lone], ["miou"])["miou"]
    assert (found.difference, found.interval, found.p) == (0, None, None)
    names = tuple("abcdefg")
    empty = RunCounts(names, names, np.array([*[[10, 10, 5]] * 6, [0, 0, 0]]), "paper-rsrefseg2-v1")
    found = compare([empty], [empty], ["miou", "pr50"])
    assert (found["miou"].a, found["miou"].difference, found["miou"].p) == (None, None, None)
    assert found["pr50"].p == 1
    assert bootstrap_p(np.array([np.nan, 1.0])) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: RunCounts(("x", *r.sample_id[1:]), r.image_id, r.counts, where="B"), "39 in common.*'s000000'.*'x'"),
        (lambda r: RunCounts(r.sample_id, ("x", *r.image_id[1:]), r.counts, where="B"), "different images"),
        (
            lambda r: RunCounts(r.sample_id, r.image_id, np.add(r.counts, [[1, 1, 0]]), where="B"),
            "masks of 40 samples",
        ),
        (lambda r: RunCounts(r.sample_id, r.image_id, r.counts, "paper-rsrefseg2-v1", "B"), "scored by native-v1"),
    ],
)
def test_runs_of_other_samples_are_refused_with_the_reason(change, message):
    one = run(40, name="A")
    with pytest.raises(UserError, match=f"A and B cannot be compared: .*{message}"):
        compare([one], [change(one)])


def test_holm_by_hand():
    # 4 comparisons: .01*4=.04, .03*3=.09, .035*2=.07 -> .09, .5*1=.5
    assert holm({"a": 0.01, "b": 0.03, "c": 0.035, "d": 0.5}) == pytest.approx(
        {"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.5}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}


def test_entries_that_chance_could_have_swapped_share_a_rank():
    entries = {
        "best": [run(400, 0.60, 1), run(400, 0.60, 2)],
        "as good": [run(400, 0.60, 3), run(400, 0.595, 4)],
        "middle": [run(400, 0.45, 5)],
        "as middle": [run(400, 0.45, 6)],
        "last": [run(400, 0.2, 7)],
    }
    placed = rank_groups(entries, resamples=2000)
    assert {name: place.rank for name, place in placed.items()} == {
        "best": 1, "as good": 1, "middle": 3, "as middle": 3, "last": 5,
    }  # fmt: skip
    values = {name: means(runs, ["miou"])["miou"] for name, runs in entries.items()}
    assert list(placed) == sorted(values, key=values.get, reverse=True)
    for name, place in placed.items():
        low, high = percentile_interval(resampled([entries[name]], ["miou"], 2000)["miou"][0])
        assert place.interval == (low, high)
        assert low < values[name] < high


def test_holm_decides_a_rank_that_a_single_comparison_would_not():
    """A difference of p = .03 separates two entries, but not one of four from the best."""
    a = run(100, 0.5, 1)
    for seed in range(2, 400):
        b = run(100, 0.47, seed)
        p = compare([a], [b], ["miou"], resamples=2000)["miou"].p
        if 0.02 < p < 0.04 and ious(a).mean() > ious(b).mean():
            break
    placed = rank_groups({"a": [a], "b": [b]}, resamples=2000)
    assert {name: place.rank for name, place in placed.items()} == {"a": 1, "b": 2}
    others = {f"c{k}": [RunCounts(a.sample_id, a.image_id, a.counts[:])] for k in range(3)}
    placed = rank_groups({"a": [a], "b": [b], **others}, resamples=2000)
    assert {place.rank for place in placed.values()} == {1}


def test_other_samples_get_no_rank():
    entries = {"a": [run(50, 0.5, 1)], "b": [run(50, 0.4, 2)], "short": [run(30, 0.9, 3)], "mixed": [run(50), run(30)]}
    placed = rank_groups(entries, resamples=200)
    assert list(placed) == ["a", "b", "mixed", "short"]
    assert [place.rank for place in placed.values()] == [1, 2, None, None]
    assert placed["short"].interval is not None
    assert placed["mixed"].interval is None
    nan = [RunCounts(("a", "b"), ("i", "j"), np.array([[10, 10, 5], [0, 0, 0]]), "paper-rsrefseg2-v1")]
    assert rank_groups({"x": nan}) == {"x": Placement(None, None)}
    assert rank_groups({}) == {}


def test_one_image_shares_every_rank():
    lone = [RunCounts(("a",), ("i",), np.array([[10, 10, k]])) for k in (3, 8)]
    placed = rank_groups({"x": [lone[0]], "y": [lone[1]]})
    assert list(placed.items()) == [("y", Placement(1, None)), ("x", Placement(1, None))]


@pytest.mark.slow
def test_ten_thousand_resamples_of_sixteen_thousand_samples_take_seconds():
    a, b = run(16_000, 0.5, 1), run(16_000, 0.501, 2)
    start = time.process_time()
    found = compare([a], [b])
    assert time.process_time() - start < 10
    assert found["miou"].interval[0] < found["miou"].difference < found["miou"].interval[1]
