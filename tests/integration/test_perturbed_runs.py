"""`test --perturb` and `test --run R --dataset OTHER` end to end on the smallest data: files, blocks, bad words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import toy_data
from rrsis_bench.data.sources import synthetic
from rrsis_bench.results.maintain import check
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("perturbed")
    toy_data.make(root / "data")
    recipe = {"preset": "toy", "seed": 1, "layout": "rrsisd"}
    synthetic.write(root / "data" / "otherset", recipe, 96, {"train": 4, "val": 4, "test": 9})
    ours, theirs = (sorted((root / "data" / name).rglob("*.jpg")) for name in ("toyset", "otherset"))
    shutil.copy(ours[0], theirs[-1])  # an image of the training is one of the other data set's test
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


@pytest.mark.slow
def test_a_run_elsewhere_is_filed_under_the_run(run: Path) -> None:
    folder = RunFolder(run / "runs" / "toyset" / "toy@tiny" / "seed0")
    words = ("test", "--run", str(folder), "--dataset", "otherset")
    done = toy_data.run(run, *words)
    assert done.returncode == 0, done.stderr
    assert "otherset test, trained on toyset" in done.stdout.replace("\n", " ")
    whole, table = folder.elsewhere("otherset").result(), read_samples(folder.elsewhere("otherset"))
    assert check(folder.elsewhere("otherset").result_path) == []
    assert (whole["dataset"]["name"], len(table), whole["status"]) == ("otherset", 9, "complete")
    block = whole["transfer"]
    assert block["trained_on"] == "toyset"
    assert set(block["shared"]) | set(block["unseen"]) == set(table.category)
    assert whole["training"]["steps"] == folder.result()["training"]["steps"]
    assert whole["selected_on"] == "val"

    listed = run / "list.jsonl"
    found = toy_data.run(
        run, "data", "overlap", "toyset", "otherset", "--out", str(listed), "--pictures", str(run / "p.jpg")
    )
    assert found.returncode == 0, found.stderr
    assert "toyset train - otherset test: 1 pairs" in found.stdout
    assert (run / "p.jpg").stat().st_size > 1000
    done = toy_data.run(run, *words, "--exclude-overlap", str(listed))
    assert done.returncode == 0, done.stderr
    there = folder.elsewhere("otherset-without-overlap")
    left, kept = there.result(), read_samples(there)
    out = left["transfer"]["excluded"]["n_samples"]
    assert out == len(table) - len(kept) > 0
    assert left["status"] == "complete"
    places = {sample_id: place for place, sample_id in enumerate(table.sample_id)}
    rows = [places[sample_id] for sample_id in kept.sample_id]
    assert (table.counts[rows] == kept.counts).all()

    trained = str(folder.best)
    refused = toy_data.run(run, "test", "--ckpt", trained, "--method", "toy", "--dataset", "otherset")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "was trained on toyset, not on otherset" in refused.stderr
    for words_too, message in (
        (("--perturb", "haze"), "own data set"),
        (("--perturb", "haze:9"), "from 1 to 5"),
        (("--exclude-overlap", str(run / "none")), "cannot read"),
    ):
        refused = toy_data.run(run, *words, "--overwrite", *words_too)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert message in refused.stderr
