"""Two processes score an odd number of samples as one does, and train without hanging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import toy_data
from rrsis_bench.engine.checkpoint import read

pytestmark = pytest.mark.slow
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ddp")
    toy_data.make(root / "data")
    return root


def result(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "result.json").read_text())
    return loaded


def test_training_and_scoring_in_two_processes(folder: Path, tmp_path: Path) -> None:
    assert toy_data.COUNTS["test"] % 2 == 1
    assert toy_data.COUNTS["val"] % 2 == 1
    two, one = tmp_path / "two", tmp_path / "one"
    done = toy_data.run_alone(
        folder, "fit", "--method", "toy", "--dataset", "toyset", "--out", str(two), "--data.batch_size=2",
        "--data.global_batch=8", "--trainer.max_epochs=2", *TWO,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    training = result(two)["training"]
    assert (training["devices"], training["global_batch"], training["accumulation"]) == (2, 8, 2)
    assert len(read(two / "checkpoints" / "last.ckpt")["resume"]["random"]) == 2
    again = toy_data.run_alone(folder, "test", "--run", str(two), "--out", str(one), "--trainer.devices=1")
    assert again.returncode == 0, again.stderr
    assert "(result.json, samples.csv.gz, config.yaml)" in again.stdout
    assert "ckpt_path" not in again.stderr
    assert result(one)["metrics"] == result(two)["metrics"]
    assert result(one)["language_control"] == result(two)["language_control"]
    assert (one / "samples.csv.gz").read_bytes() == (two / "samples.csv.gz").read_bytes()


def test_two_processes_killed_and_resumed_are_the_uninterrupted_run(folder: Path, tmp_path: Path) -> None:
    whole, pieced = tmp_path / "whole", tmp_path / "pieced"
    fit = (
        "fit", "--method", "toy", "--dataset", "toyset", "--data.batch_size=2", "--trainer.max_epochs=2", *TWO,
    )  # fmt: skip
    done = toy_data.run_alone(folder, *fit, "--out", str(whole))
    assert done.returncode == 0, done.stderr
    killed = toy_data.run_alone(
        folder, *fit, "--out", str(pieced), TOY_KILL_AT="9"
    )  # 6 steps an epoch: in the second one
    assert killed.returncode != 0
    before = read(pieced / "checkpoints" / "last.ckpt")
    assert before["global_step"] == 8
    resumed = toy_data.run_alone(folder, *fit, "--out", str(pieced), "--resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    a, b = (read(path / "checkpoints" / "last.ckpt") for path in (whole, pieced))
    assert a["global_step"] == b["global_step"] == 12
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for here, there in zip(a["resume"]["random"], b["resume"]["random"], strict=True):
        assert torch.equal(here["torch"], there["torch"])
    assert {key: a["resume"][key] for key in ("world_size", "accumulate", "loader")} == {
        key: b["resume"][key] for key in ("world_size", "accumulate", "loader")
    }
    assert b["training"]["seconds"] > before["training"]["seconds"] > 0
    assert result(whole)["metrics"] == result(pieced)["metrics"]


def test_a_method_with_dead_parameters_trains_in_two_processes(folder: Path, tmp_path: Path) -> None:
    """LAVT's last gate gets no gradient, as released; processes that wait for it would stop at the second step."""
    done = toy_data.run_alone(
        folder, "fit", "--method", "lavt", "--variant", "tiny", "--dataset", "toyset", "--out", str(tmp_path / "run"),
        "--data.batch_size=2", "--trainer.max_steps=3", "--model.schedule.warmup_steps=0", *TWO,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "run")["training"]["steps"] == 3
