"""Ways users take that other tests do not: missing weights, released weights, a time limit, the Python functions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import rrsis_bench
from helpers import toy, toy_data
from helpers.official import official_checkpoint
from rrsis_bench import registry
from rrsis_bench.config import variant_options
from rrsis_bench.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paths")
    toy_data.make(root / "data")
    return root


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ("hub:google-bert/bert-base-uncased/model.safetensors", "google-bert/bert-base-uncased"),
        ("gone/model.safetensors", "gone/model.safetensors"),
    ],
)
def test_missing_base_weights_end_with_3_and_never_start_at_random(folder: Path, weights: str, named: str) -> None:
    stopped = toy_data.run_alone(
        folder, "fit", "--method", "lavt", "--variant", "tiny", "--dataset", "toyset", "--out", str(folder / "none"),
        f"--model.options.text_weights={weights}", HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hub"),
    )  # fmt: skip
    assert stopped.returncode == 3, stopped.stderr
    line = stopped.stderr.strip().splitlines()
    assert len(line) == 1
    assert named in line[0]
    assert not (folder / "none" / "checkpoints").exists()


def test_released_weights_are_scored_as_such(folder: Path, tmp_path: Path) -> None:
    method = registry.load_class("lavt").from_options(variant_options("lavt", "tiny"))
    torch.save({"model": official_checkpoint(method, "lavt")}, tmp_path / "released.pth")  # type: ignore[arg-type]
    words = ("test", "--method", "lavt", "--variant", "tiny", "--dataset", "toyset")
    done = toy_data.run(folder, *words, "--weights", str(tmp_path / "released.pth"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["kind"] == "official-weights"
    assert result["selected_on"] == "none"
    assert result["training"] is None
    assert result["dataset"]["n_samples"] == toy_data.COUNTS["test"]
    wrong = tmp_path / "wrong.pth"
    torch.save({"model": {"backbone.strange": torch.ones(1)}}, wrong)
    refused = toy_data.run(folder, *words, "--weights", str(wrong), "--out", str(tmp_path / "other"))
    assert refused.returncode == 3
    assert "cannot place backbone.strange" in refused.stderr
    assert not (tmp_path / "other" / "result.json").exists()


def test_a_time_limit_ends_the_training_and_the_result_is_written(folder: Path, tmp_path: Path) -> None:
    done = toy_data.run(
        folder, "fit", "--method", "toy", "--dataset", "toyset", "--out", str(tmp_path / "run"),
        "--trainer.max_epochs=100000", "--trainer.max_time=00:00:00:04",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    training = json.loads((tmp_path / "run" / "result.json").read_text())["training"]
    assert 0 < training["epochs"] < 100_000
    assert training["seconds"] < 60


def test_the_verbs_from_python(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, toy.NAME, toy.TARGET)
    registry.installed_targets.cache_clear()
    configs = Path(toy.__file__).parent / "toy_configs"
    for name, value in (("DATA", folder / "data"), ("CONFIGS", configs), ("CACHE", folder / "cache")):
        monkeypatch.setenv(f"RRSIS_{name}", str(value))
    run = tmp_path / "run"
    fitted = rrsis_bench.fit("toy", dataset="toyset", out=run, values={"trainer.max_epochs": 1})
    assert fitted["training"]["epochs"] == 1
    assert rrsis_bench.test(run=run, out=tmp_path / "again")["metrics"] == fitted["metrics"]
    image = tmp_path / "scene.png"
    Image.new("RGB", (96, 96), (90, 120, 60)).save(image)
    rrsis_bench.predict(run=run, image=image, text="the red ship", out=tmp_path / "seen")
    assert any(path.suffix == ".png" for path in (tmp_path / "seen").rglob("*"))
    with pytest.raises(UsageError, match="unknown data set 'toysets'"):
        rrsis_bench.fit("toy", dataset="toysets")
    registry.installed_targets.cache_clear()
