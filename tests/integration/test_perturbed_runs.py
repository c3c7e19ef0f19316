"""`test --perturb` end to end on the smallest data: files, blocks, bad words, boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import toy_data
from rrsis_bench.results.maintain import check
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("perturbed")
    toy_data.make(root / "data")
    done = toy_data.run(root, "fit", "--method", "toy", "--dataset", "toyset", "--trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
def test_perturbed_results_are_filed_under_the_run(run: Path) -> None:
    folder = RunFolder(run / "runs" / "toyset" / "toy@tiny" / "seed0")
    names = ("haze:3", "turn-90", "synonyms", "noise:5")
    words = [word for name in names for word in ("--perturb", name)]
    done = toy_data.run(run, "test", "--run", str(folder), *words)
    assert done.returncode == 0, done.stderr
    clean, table = folder.result(), read_samples(folder)
    assert "perturbation" not in clean
    areas = dict(zip(table.sample_id, table.view("native")[:, 0].tolist(), strict=True))
    for label in ("haze-3", "turn-90-1", "synonyms-1", "noise-5"):
        made = folder.perturbed(label)
        assert {"config.yaml", "result.json", "samples.csv.gz"} <= {path.name for path in made.path.iterdir()}
        assert check(made.result_path) == []
        result, scored = made.result(), read_samples(made)
        block = result["perturbation"]
        assert f"{block['name']}-{block['severity']}" == label
        assert len(scored) == len(table) - block["n_left_out"]
        assert result["training"]["steps"] == clean["training"]["steps"]
        assert result["status"] == "complete"
        for sample_id, area in zip(scored.sample_id, scored.view("native")[:, 0].tolist(), strict=True):
            assert area == areas[sample_id]
    again = toy_data.run(run, "test", "--run", str(folder), "--perturb", "noise:5", "--out", str(run / "again"))
    assert again.returncode == 0, again.stderr
    there = RunFolder(run / "again").perturbed("noise-5").result()
    assert there["samples_sha256"] == folder.perturbed("noise-5").result()["samples_sha256"]
    once_more = toy_data.run(run, "test", "--run", str(folder), "--perturb", "noise:5")
    assert once_more.returncode == 2
    assert "already holds a result" in once_more.stderr
