"""`fit`, `validate` and `test` from names to result files, nothing mocked."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import toy_data
from rrsis_bench.engine.checkpoint import read
from rrsis_bench.engine.load import load_run
from rrsis_bench.results.samples import read_samples
from rrsis_bench.run.folder import RunFolder

FIT = ("fit", "--method", "toy", "--dataset", "toyset")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fit")
    toy_data.make(root / "data")
    done = toy_data.run(root, *FIT)
    assert done.returncode == 0, done.stderr
    (root / "stdout").write_text(done.stdout)
    return root


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    return folder / "runs" / "toyset" / "toy@tiny" / "seed0"


def result(done: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((done / "result.json").read_text())
    return loaded


def test_the_files_are_there_and_agree(done: Path) -> None:
    found = result(done)
    assert found["kind"] == "retrained"
    assert found["selected_on"] == "val"
    assert list(found["metrics"]) == sorted(found["protocols"])
    assert found["protocols"][0] == "native-v1"
    assert found["dataset"]["n_samples"] == toy_data.COUNTS["test"]
    training = found["training"]
    assert (training["epochs"], training["steps"], training["global_batch"]) == (3, 18, 4)
    assert set(training["pretrained"]) == {"encoder"}
    assert found["language_control"]["n"] == toy_data.COUNTS["test"]
    assert len(read_samples(RunFolder(done))) == toy_data.COUNTS["test"]
    assert found["efficiency"]["trainable_parameters"] < found["efficiency"]["parameters"]


def test_the_saved_configuration_says_everything(done: Path) -> None:
    saved = yaml.safe_load((done / "config.yaml").read_text())
    assert saved["seed_everything"] == 0
    assert saved["model"]["method"] == "toy"
    assert saved["model"]["protocols"][0] == "native-v1"
    assert saved["model"]["optimizer"]["lr"] == 0.01
    assert saved["data"]["dataset"] == "toyset"
    assert saved["trainer"]["max_epochs"] == 3
    assert "class_path" not in (done / "config.yaml").read_text()


def test_metrics_are_logged(done: Path) -> None:
    with (done / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sum(bool(row["val/miou"]) for row in rows) == 3
    assert any(row["train/loss"] for row in rows)
    assert any(row["train/bce"] for row in rows)


def test_what_is_printed(folder: Path, done: Path) -> None:
    words = (folder / "stdout").read_text()
    assert "native-v1" in words
    assert "Epoch" not in words, "no bar in a pipe"
    assert [line.split("  ")[0] for line in words.splitlines() if line.startswith("epoch")] == [
        f"epoch {epoch}/3" for epoch in (1, 2, 3)
    ]
    assert "paper-lavt480-v1" in words
    assert str(done) in words
    assert "permuted" in words
    assert words.count("epoch ") == 3


def test_a_finished_run_is_not_overwritten_by_accident(folder: Path, done: Path) -> None:
    before = (done / "result.json").read_bytes()
    again = toy_data.run(folder, *FIT)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1
    assert (done / "result.json").read_bytes() == before


def test_the_same_seed_gives_the_same_run_and_another_does_not(folder: Path, done: Path, tmp_path: Path) -> None:
    for seed, expected in ((0, True), (1, False)):
        again = toy_data.run_alone(folder, *FIT, "--seed", str(seed), "--out", str(tmp_path / str(seed)))
        assert again.returncode == 0, again.stderr
        pair = [(path / "samples.csv.gz").read_bytes() for path in (done, tmp_path / str(seed))]
        weights = [read(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (done, tmp_path / str(seed))]
        equal = all((weights[0][key] == weights[1][key]).all() for key in weights[0])
        assert equal is expected
        if expected:
            assert pair[0] == pair[1]


def test_test_repeats_the_result_of_fit(folder: Path, done: Path, tmp_path: Path) -> None:
    again = toy_data.run(folder, "test", "--run", str(done), "--out", str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert result(tmp_path)["metrics"] == result(done)["metrics"]
    assert (tmp_path / "samples.csv.gz").read_bytes() == (done / "samples.csv.gz").read_bytes()
    assert result(tmp_path)["training"]["steps"] == 18
    named = toy_data.run(
        folder, "test", "--method", "toy", "--dataset", "toyset", "--out", str(tmp_path / "named"),
        "--ckpt", str(done / "checkpoints" / "best.ckpt"),
    )  # fmt: skip
    assert named.returncode == 0, named.stderr
    assert result(tmp_path / "named")["metrics"] == result(done)["metrics"]


def test_validate_prints_the_scores_of_the_best_epoch(folder: Path, done: Path) -> None:
    again = toy_data.run(folder, "validate", "--run", str(done))
    assert again.returncode == 0, again.stderr
    with (done / "metrics.csv").open() as stream:
        best = max(float(row["val/miou"]) for row in csv.DictReader(stream) if row["val/miou"])
    assert f"{100 * best:.2f}" in again.stdout


def test_a_run_loads_without_trainer_or_data(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers import toy
    from rrsis_bench import registry

    monkeypatch.setitem(registry.BUILT_IN, toy.NAME, toy.TARGET)
    registry.installed_targets.cache_clear()
    loaded = load_run(RunFolder(done))
    registry.installed_targets.cache_clear()
    assert not loaded.method.training
    assert loaded.config["data"]["dataset"] == "toyset"
    assert loaded.method(toy.random_batch()).logits.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--variant", "base", "--ckpt", "BEST"), 1, "--variant tiny"),
        (("--model.options.frozen_seed=9", "--ckpt", "BEST"), 1, "frozen_seed"),
        (("--ckpt", "missing.ckpt"), 2, "missing.ckpt"),
        (("--weights", "official"), 2, "official"),
    ],
)
def test_wrong_checkpoints_in_one_line(
    folder: Path, done: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    given = [word.replace("BEST", str(done / "checkpoints" / "best.ckpt")) for word in words]
    refused = toy_data.run(folder, "test", "--method", "toy", "--dataset", "toyset", "--out", str(tmp_path), *given)
    assert refused.returncode == code, refused.stderr
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "result.json").exists()


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path, tmp_path: Path) -> None:
    stopped = toy_data.run(folder, *FIT, "--out", str(tmp_path), "--model.options.bad_step=5")
    assert stopped.returncode == 1
    assert "not finite at step 5" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4


def test_overwrite_starts_anew(folder: Path, tmp_path: Path) -> None:
    run, aside = tmp_path / "run", tmp_path / "run.replaced-1"
    short = (*FIT, "--trainer.max_epochs=1", "--out", str(run))
    assert toy_data.run(folder, *short).returncode == 0
    (run / "notes.txt").write_text("mine")
    before = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = toy_data.run(folder, *short, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert str(aside) in done.stdout
    kept = {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    renamed = {Path("result.json.replaced"): before.pop(Path("result.json"))}
    ours = {".rrsis_run.json", ".cell.lock.guard"}
    assert {path: content for path, content in before.items() if path.name not in ours} | renamed == kept
    assert not (run / "notes.txt").exists()
