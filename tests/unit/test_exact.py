"""Few photographs: the exact test against scipy and a plain enumeration, and nothing tested below six photographs."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats

from helpers.results import make_table, write
from rrsis_bench.cli import main
from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.metrics.functional import scores
from rrsis_bench.stats.bootstrap import SEED, intervals
from rrsis_bench.stats.exact import EXACT_UP_TO, FEWEST, exact_p
from rrsis_bench.stats.paired import RunCounts, compare, p_value, resampled
from rrsis_bench.stats.ranks import rank_groups

SIZES = (1, 4, 2, 1, 3, 5, 2)
"""Samples of each photograph, where photographs differ."""


def run(quality, seed, sizes=SIZES):
    """A run on photographs of these many samples; the truths are the same for every run."""
    truth = np.random.default_rng(1).integers(200, 2000, sum(sizes))
    own = np.random.default_rng((seed, 2)).normal(0, 0.15, sum(sizes))
    inter = (truth * np.clip(quality + own, 0.01, 1)).astype(np.int64)
    images = [f"i{number:02d}" for number, size in enumerate(sizes) for _ in range(size)]
    ids = tuple(f"s{k:04d}" for k in range(sum(sizes)))
    return RunCounts(ids, tuple(images), np.stack([truth, truth, inter], axis=1))


def ious(one):
    truth, pred, inter = one.counts.T
    return inter / (truth + pred - inter)


@pytest.mark.parametrize("photographs", [6, 9, 12])
@pytest.mark.parametrize("gap", [0.0, 0.05, 0.4])
def test_equal_to_scipys_exact_sign_flip_test_where_each_sample_is_a_photograph(photographs, gap):
    a, b = run(0.5 + gap, 1, (1,) * photographs), run(0.5, 2, (1,) * photographs)
    theirs = stats.permutation_test(
        (ious(a) - ious(b),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert compare([a], [b], ["miou"], resamples=10)["miou"].p == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("metric", ["miou", "oiou", "pr50", "dice"])
def test_equal_to_scoring_every_exchange_of_whole_photographs(metric):
    a, b = run(0.55, 3), run(0.5, 4)
    images = np.array(a.image_id)
    names = sorted(set(a.image_id))
    found = []
    for swaps in product((False, True), repeat=len(names)):
        swapped = np.isin(images, [name for name, swap in zip(names, swaps, strict=True) if swap])[:, None]
        one, other = np.where(swapped, b.counts, a.counts), np.where(swapped, a.counts, b.counts)
        found.append(scores(one, "native-v1")[metric] - scores(other, "native-v1")[metric])
    expected = np.mean(np.abs(found) >= abs(found[0]) - 1e-12)
    assert compare([a], [b], [metric], resamples=10)[metric].p == pytest.approx(expected, abs=1e-12)


def test_seeds_are_averaged_before_photographs_are_exchanged():
    a, b = [run(0.55, seed) for seed in (1, 2, 3)], [run(0.5, seed) for seed in (4, 5)]
    here, there = (np.mean([ious(one) for one in runs], axis=0) for runs in (a, b))
    images = np.array(a[0].image_id)
    sums = np.array([(here - there)[images == name].sum() for name in sorted(set(a[0].image_id))])
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    found = compare(a, b, ["miou", "oiou"], resamples=10)
    assert found["miou"].p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found["oiou"].p == compare(b, a, ["oiou"], resamples=10)["oiou"].p


@pytest.mark.parametrize("photographs", range(2, 9))
def test_no_p_is_smaller_than_the_photographs_allow(photographs):
    """The worst case: A is better on every photograph."""
    sizes = (3,) * photographs
    a, b = run(0.9, 1, sizes), run(0.2, 2, sizes)
    found = compare([a], [b], ["miou", "oiou"], resamples=200)
    for entry in found.values():
        assert entry.n_images == photographs
        if photographs < FEWEST:
            assert (entry.p, entry.interval) == (None, None)
        else:
            assert entry.p == 2 / 2**photographs
            assert entry.interval[0] <= entry.difference <= entry.interval[1]
    ranks = {name: place.rank for name, place in rank_groups({"a": [a], "b": [b]}, resamples=200).items()}
    assert ranks == {"a": 1, "b": 2 if photographs >= FEWEST else 1}


def test_the_fewest_photographs_are_the_first_that_could_show_a_difference():
    assert 2 / 2 ** (FEWEST - 1) > 0.05 >= 2 / 2**FEWEST


def test_many_photographs_are_left_to_the_bootstrap():
    sizes = (1,) * (EXACT_UP_TO + 1)
    a, b = run(0.9, 1, sizes), run(0.2, 2, sizes)
    assert compare([a], [b], ["miou"], resamples=200)["miou"].p == 2 / 201


def test_exchanges_that_tie_with_the_observed_difference_count_whatever_rounding_says():
    rng = np.random.default_rng(11)
    for _ in range(20):
        here, there = rng.integers(0, 4, (2, 7))
        signs = product((1, -1), repeat=7)
        exact = [abs(sum(s * (a - b) for s, a, b in zip(row, here, there, strict=True))) for row in signs]
        expected = sum(value >= exact[0] for value in exact) / len(exact)
        found = exact_p(here[:, None] / 3, there[:, None] / 3, lambda sums: sums[:, 0] / 7)
        assert found == expected


def test_nan_gives_no_p():
    nan = np.array([[np.nan], [1.0], [2.0]])
    assert exact_p(nan, np.ones((3, 1)), lambda sums: sums[:, 0]) is None
    assert exact_p(np.ones((3, 1)), np.ones((3, 1)), lambda sums: sums[:, 0]) == 1


def test_resamples_in_which_two_methods_tie_count_on_both_sides():
    """Thirds of hits over three seeds sum to whole numbers but for rounding, which must not decide."""
    rng = np.random.default_rng(7)
    n, resamples = 40, 400
    ids = tuple(f"i{k:02d}" for k in range(n))
    hits = rng.integers(0, 2, (4, n))
    runs = [RunCounts(ids, ids, np.stack([np.full(n, 9), np.full(n, 9), 9 * row], axis=1)) for row in hits]
    spread = resampled([runs[:3], runs[3:]], ["pr50"], resamples)["pr50"]
    found = p_value(runs[:3], runs[3:], "pr50", spread[0] - spread[1])
    draws = np.random.default_rng(SEED).integers(0, n, (resamples, n))
    exact = [
        Fraction(int(hits[:3, draw].sum()), 3 * n) - Fraction(int(hits[3, draw].sum()), n) for draw in draws
    ]  # fmt: skip
    assert sum(value == 0 for value in exact) > 3
    tail = min(sum(value <= 0 for value in exact), sum(value >= 0 for value in exact))
    assert found == min(1.0, 2 * (tail + 1) / (resamples + 1))


def test_photographs_of_different_sizes_divide_by_the_samples_drawn():
    """Against a plain loop; dividing by the N samples of the split in place of those drawn gives another interval."""
    one = run(0.5, 5)
    members = [np.flatnonzero(np.array(one.image_id) == name) for name in sorted(set(one.image_id))]
    draws = np.random.default_rng(SEED).integers(0, len(members), (300, len(members)))
    drawn = [np.concatenate([members[k] for k in draw]) for draw in draws]
    values = [scores(one.counts[rows], "native-v1") for rows in drawn]
    found = intervals({"native-v1": one.counts}, one.image_id, resamples=300)["native-v1"]
    spread = resampled([[one]], list(METRICS), resamples=300)
    for metric in METRICS:
        expected = np.array([value[metric] for value in values])
        assert spread[metric][0] == pytest.approx(expected, abs=1e-12)
        assert found[metric] == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=1e-12)
    wrong = np.array([value["miou"] * len(rows) / len(one.image_id) for value, rows in zip(values, drawn, strict=True)])
    assert found["miou"] != pytest.approx(tuple(np.quantile(wrong, [0.025, 0.975])), abs=0.01)


def test_compare_prints_no_star_for_a_category_on_two_photographs(tmp_path, capsys):
    # Twelve photographs; ships are on the first two only, and A is better everywhere.
    n = 36
    images = [f"i{k // 3}" for k in range(n)]
    categories = ["ship" if k < 6 else "dam" for k in range(n)]
    tables = {}
    for method, share in (("good", 0.9), ("poor", 0.3)):
        base = make_table(n, image_id=images, category=categories)
        counts = base.counts.copy()
        counts[..., 1] = counts[..., 2] = (counts[..., 0] * share).astype(np.int64)
        tables[method] = make_table(n, image_id=images, category=categories, counts=counts)
    a, b = (write(tmp_path, method=method, table=table) for method, table in tables.items())
    assert main(["results", "compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ship, dam = found["by"]["category"]["ship"]["miou"], found["by"]["category"]["dam"]["miou"]
    assert (ship["n_images"], ship["p"], ship["p_holm"], ship["interval"]) == (2, None, None, None)
    assert (dam["n_images"], dam["p"], dam["p_holm"]) == (10, 2 / 2**10, 2 / 2**10)
    assert found["test"] == {"unit": "image", "fewest": FEWEST, "fewest_in_part": 10, "exact_up_to": EXACT_UP_TO}
    assert main(["results", "compare", str(a), str(b)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (ship_line,) = [line for line in lines if line.startswith("│ ship")]
    (dam_line,) = [line for line in lines if line.startswith("│ dam")]
    assert "too few photographs" in ship_line
    assert "*" not in ship_line
    assert dam_line.count("*") == 2
    assert any("fewer than 10" in line for line in lines)
