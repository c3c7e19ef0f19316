"""A run that was killed or interrupted and resumed is the uninterrupted run, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import toy_data
from rrsis_bench.boards.collect import collect
from rrsis_bench.engine.checkpoint import read

FIT = ("fit", "--method", "toy", "--dataset", "toyset")
TEST_METRICS = ("miou", "oiou", "pr50")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume")
    toy_data.make(root / "data")
    return root


def same(here: Any, there: Any) -> bool:
    if isinstance(here, torch.Tensor):
        return torch.equal(here, there)
    if isinstance(here, dict):
        return here.keys() == there.keys() and all(same(here[key], there[key]) for key in here)
    if isinstance(here, list | tuple):
        return len(here) == len(there) and all(map(same, here, there))
    return bool(here == there)


def check_equal(whole: Path, pieced: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        a, b = read(whole / "checkpoints" / name), read(pieced / "checkpoints" / name)
        assert a["global_step"] == b["global_step"]
        assert same(a["state_dict"], b["state_dict"]), f"{name}: weights differ"
        assert same(a["optimizer_states"], b["optimizer_states"])
        assert same(a["lr_schedulers"], b["lr_schedulers"])
        assert same(a["resume"], b["resume"])
    results = [json.loads((path / "result.json").read_text()) for path in (whole, pieced)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["training"]["steps"] == results[1]["training"]["steps"]
    assert (whole / "samples.csv.gz").read_bytes() == (pieced / "samples.csv.gz").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "kill_at"),
    [
        (("--data.num_workers=0",), "10"),  # 6 batches an epoch (the last two samples are dropped): the second epoch
        (("--data.num_workers=2",), "15"),  # the third epoch, with batches already prefetched
        (("--data.num_workers=0", "--data.global_batch=8"), "9"),  # accumulating two batches a step
        (("--data.num_workers=1", "--checkpoint_every_n_steps=0"), "12"),  # only after epochs: right after the second
    ],
)
def test_killed_in_the_middle_of_an_epoch(folder: Path, tmp_path: Path, flags: tuple[str, ...], kill_at: str) -> None:
    whole, pieced = tmp_path / "whole", tmp_path / "pieced"
    done = toy_data.run(folder, *FIT, *flags, "--out", str(whole))
    assert done.returncode == 0, done.stderr
    killed = toy_data.run(folder, *FIT, *flags, "--out", str(pieced), TOY_KILL_AT=kill_at)
    assert killed.returncode == -9
    assert (pieced / "config.yaml").is_file()
    assert not (pieced / "result.json").exists()
    refused = toy_data.run(folder, *FIT, *flags, "--out", str(pieced))
    assert refused.returncode == 2
    assert "--resume auto" in refused.stderr
    resumed = toy_data.run_alone(folder, *FIT, *flags, "--out", str(pieced), "--resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    check_equal(whole, pieced)
    assert (pieced / "metrics-before-resume-1.csv").is_file()
    again = toy_data.run(folder, *FIT, *flags, "--out", str(pieced), "--resume", "auto")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    whole, pieced = tmp_path / "whole", tmp_path / "pieced"
    assert toy_data.run(folder, *FIT, "--out", str(whole)).returncode == 0
    stopped = toy_data.run(folder, *FIT, "--out", str(pieced), TOY_INTERRUPT_AT="8")
    assert stopped.returncode == 130
    assert "Traceback" not in stopped.stderr
    assert "--resume auto" in stopped.stderr
    assert read(pieced / "checkpoints" / "last.ckpt")["global_step"] == 9
    resumed = toy_data.run(folder, *FIT, "--out", str(pieced), "--resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    check_equal(whole, pieced)


@pytest.mark.slow
def test_sigterm_saves_too_and_exits_with_its_own_code(folder: Path, tmp_path: Path) -> None:
    stopped = toy_data.run(folder, *FIT, "--out", str(tmp_path), TOY_INTERRUPT_AT="8", TOY_SIGNAL="SIGTERM")
    assert stopped.returncode == 143
    assert "Traceback" not in stopped.stderr
    assert "--resume auto" in stopped.stderr
    assert read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 9


@pytest.mark.slow
def test_a_run_does_not_continue_with_other_settings_or_data(folder: Path, tmp_path: Path) -> None:
    assert toy_data.run(folder, *FIT, "--out", str(tmp_path), TOY_INTERRUPT_AT="8").returncode == 130
    resume = (*FIT, "--out", str(tmp_path), "--resume", "auto")
    for flags, told in (
        (("--seed", "7"), "seed_everything: 0 -> 7"),
        (("--model.optimizer.lr=1e-5",), "model.optimizer.lr: 0.01 -> 1e-05"),
        (("--data.limit.train=20",), "data.limit"),
    ):
        refused = toy_data.run(folder, *resume, *flags)
        assert refused.returncode == 1
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 9
    # What cannot change the result may differ; what was accepted is in the result, and no board takes it.
    changed = ("--accept-changes", "--model.optimizer.lr=1e-5", "--data.num_workers=0")
    done = toy_data.run(folder, *resume, *changed)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "changed"
    assert result["training"]["accepted_changes"] == ["model.optimizer.lr: 0.01 -> 1e-05"]
    boards, left_out = collect(tmp_path)
    assert boards == []
    assert "continued with other" in left_out[0]
    tested = toy_data.run(folder, "test", "--run", str(tmp_path), "--out", str(tmp_path / "tested"))
    assert tested.returncode == 0, tested.stderr
    assert json.loads((tmp_path / "tested" / "result.json").read_text())["status"] == "changed"


@pytest.mark.slow
def test_a_part_of_the_test_split_is_a_partial_result(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = toy_data.run(folder, *FIT, "--out", str(run), "--trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    whole = json.loads((run / "result.json").read_text())
    assert whole["status"] == "complete"
    hashes = {whole["dataset"]["content_hash"]}
    for number, flag in enumerate(("--trainer.limit_test_batches=1", "--data.limit.test=3")):
        out = tmp_path / str(number)
        flags = ("--data.eval_batch_size=4", flag)
        tested = toy_data.run(folder, "test", "--run", str(run), "--out", str(out), *flags)
        assert tested.returncode == 0, tested.stderr
        assert "no board shows this result" in tested.stdout
        result = json.loads((out / "result.json").read_text())
        assert result["status"] == "partial"
        hashes.add(result["dataset"]["content_hash"])
        assert collect(out)[0] == []
    assert len(hashes) == 3


@pytest.mark.slow
def test_a_resume_with_another_accumulation_is_refused(folder: Path, tmp_path: Path) -> None:
    stopped = toy_data.run(folder, *FIT, "--out", str(tmp_path), TOY_INTERRUPT_AT="8")
    assert stopped.returncode == 130
    changed = ("--resume", "auto", "--data.global_batch=8", "--accept-changes")
    refused = toy_data.run(folder, *FIT, "--out", str(tmp_path), *changed)
    assert refused.returncode == 1
    assert "accumulated" in refused.stderr
