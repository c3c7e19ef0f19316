"""`results compare`: two methods' difference with its interval, per category and size, and every way to misuse it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from helpers.results import make_table, write
from rrsis_bench.cli import main
from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.metrics.functional import scores
from rrsis_bench.results.comparison import comparison
from rrsis_bench.results.counts import run_counts
from rrsis_bench.stats.paired import compare


def table_of(seed, quality, n=60, truth_seed=5, **changes):
    """Same samples and truths for every seed; only the predictions differ."""
    base = make_table(n, seed=truth_seed)
    rng = np.random.default_rng((seed, 3))
    counts = base.counts.copy()
    counts[..., 2] = (counts[..., 0] * np.clip(quality + rng.normal(0, 0.2, counts.shape[:2]), 0, 1)).astype(np.int64)
    counts[..., 1] = counts[..., 2]
    return make_table(n, seed=truth_seed, counts=counts, **changes)


@pytest.fixture
def runs(tmp_path):
    for seed in range(2):
        write(tmp_path, seed=seed, method="good", table=table_of(seed, 0.8))
    write(tmp_path, seed=0, method="poor", table=table_of(9, 0.5))
    return tmp_path / "tiny"


def test_json_holds_every_metric_and_part(runs, capsys):
    assert main(["results", "compare", str(runs / "good@tiny"), str(runs / "poor@tiny" / "seed0"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["a"]["seeds"], found["b"]["seeds"], found["n_samples"], found["n_images"]) == (2, 1, 60, 20)
    assert set(found["overall"]) == set(METRICS)
    tables = [table_of(0, 0.8), table_of(1, 0.8), table_of(9, 0.5)]
    values = [scores(table.view("native"), "native-v1") for table in tables]
    for metric in METRICS:
        entry = found["overall"][metric]
        expected = (values[0][metric] + values[1][metric]) / 2 - values[2][metric]
        assert entry["difference"] == pytest.approx(expected, abs=1e-12)
        assert entry["interval"][0] <= entry["difference"] <= entry["interval"][1]
    assert found["overall"]["miou"]["p"] < 0.01
    assert set(found["by"]) == {"category", "size"}
    assert set(found["by"]["category"]) == {"ship", "dam"}  # samples without a category belong to none
    rows = np.flatnonzero(np.array(tables[0].category) == "ship")
    parts = [[run_counts(table).rows(rows) for table in half] for half in (tables[:2], tables[2:])]
    again = compare(*parts, ["oiou"])["oiou"]
    ship = found["by"]["category"]["ship"]
    assert (ship["n"], ship["oiou"]["difference"]) == (20, pytest.approx(again.difference))
    assert ship["oiou"]["p_holm"] >= ship["oiou"]["p"]
    assert sum(part["n"] for part in found["by"]["size"].values()) == 60


def test_table_prints_percent(runs, capsys):
    assert main(["results", "compare", str(runs / "good@tiny"), str(runs / "poor@tiny")]) == 0
    shown = capsys.readouterr().out
    assert "A: good@tiny" in shown
    assert "2 seeds" in shown
    assert "A - B" in shown
    assert "ship" in shown
    miou = comparison(runs / "good@tiny", runs / "poor@tiny")["overall"]["miou"]
    assert f"{100 * miou['difference']:+.2f}" in shown


def test_other_protocols(runs):
    found = comparison(runs / "good@tiny", runs / "poor@tiny", "paper-lavt480-v1", resamples=50)
    expected = scores(table_of(9, 0.5).view("480"), "paper-lavt480-v1")["miou"]
    assert found["overall"]["miou"]["b"] == pytest.approx(expected)


def test_mistakes_are_one_clear_line(runs, capsys):
    good, poor = str(runs / "good@tiny"), str(runs / "poor@tiny")
    write(runs.parent, method="short", table=table_of(1, 0.5, n=40))
    write(runs.parent, method="moved", table=table_of(1, 0.5, truth_seed=6))
    write(runs.parent, method="other", dataset="small", table=table_of(1, 0.5))
    (runs / "mixed" / "seed0").mkdir(parents=True)
    cases = [
        ([good, str(runs / "short@tiny")], 1, "20 samples only in .*good@tiny/seed0 .first: 's0040'"),
        ([good, str(runs / "moved@tiny")], 1, "true masks of .* samples differ"),
        ([good, str(runs.parent / "small" / "other@tiny")], 1, "is on tiny test, .* on small test"),
        ([good, str(runs / "nowhere")], 2, "there is no"),
        ([good, str(runs / "mixed")], 2, "holds no result.json"),
        ([good, poor, "--protocol", "native"], 2, "unknown protocol 'native'"),
    ]
    for words, code, message in cases:
        assert main(["results", "compare", *words]) == code, words
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1

        assert re.search(message, error), error


def test_several_methods_under_one_folder_and_foreign_samples_are_refused(runs, capsys):
    (runs / "good@tiny" / "seed1" / "samples.csv.gz").write_bytes(
        (runs / "poor@tiny" / "seed0" / "samples.csv.gz").read_bytes()
    )
    assert main(["results", "compare", str(runs / "good@tiny"), str(runs / "poor@tiny")]) == 1
    assert "is not the file that" in capsys.readouterr().err
    folder = runs / "both"
    write(folder, seed=0, method="good")
    write(folder, seed=1, method="poor")
    for method, seed in (("good", 0), ("poor", 1)):
        (folder / "tiny" / f"{method}@tiny" / f"seed{seed}").rename(folder / f"seed{seed}")
    assert main(["results", "compare", str(folder), str(runs / "poor@tiny")]) == 2
    assert "more than one method" in capsys.readouterr().err


@pytest.mark.parametrize(("n_images", "tested"), [(9, False), (10, True)])
def test_a_part_of_fewer_than_ten_photographs_is_too_few_to_tell(n_images, tested, tmp_path, capsys):
    """Every photograph of `rare` says the same: with ten of them it gets its star, with nine it gets none."""
    n = 3 * 40
    category = ["rare" if k < 3 * n_images else "ship" for k in range(n)]
    for method, quality in (("good", 0.9), ("poor", 0.1)):
        write(tmp_path, method=method, table=table_of(1, quality, n, category=category))
    words = ["results", "compare", str(tmp_path / "tiny" / "good@tiny"), str(tmp_path / "tiny" / "poor@tiny")]
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " rare " in line]
    assert (("too few photographs" in line), ("*" in line)) == (not tested, tested)
    assert main([*words, "--json"]) == 0
    rare = json.loads(capsys.readouterr().out)["by"]["category"]["rare"]["miou"]
    assert (rare["p"] is not None, rare["p_holm"] is not None, rare["interval"] is not None) == (tested,) * 3
    assert rare["difference"] > 0.5
