"""A checkpoint chosen on test, as some papers do it, is one that says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers import toy_data
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine.checkpoint import ENTRY, read, selection_split
from rrsis_bench.errors import UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.types import InputSpec

SPEC = InputSpec((32, 32), "tiny", 16)


def test_only_val_and_test_can_choose() -> None:
    with pytest.raises(UsageError, match="'val' or 'test', not 'train'"):
        ReferringDataModule("toyset", source="rrsisd", select_on="train")


def test_validation_runs_on_the_split_that_chooses(tmp_path: Path) -> None:
    toy_data.make(tmp_path)
    for split, count in (("val", toy_data.COUNTS["val"]), ("test", toy_data.COUNTS["test"])):
        data = ReferringDataModule("toyset", source="rrsisd", root=str(tmp_path / "toyset"), select_on=split)
        data.input_spec = SPEC
        data.setup()
        assert len(data.val_dataset) == count
        assert len(data.test_dataset) == toy_data.COUNTS["test"]


@pytest.mark.slow
def test_the_result_says_which_split_chose(tmp_path: Path) -> None:
    toy_data.make(tmp_path / "data")
    done = toy_data.run(tmp_path, "fit", "--method", "toy", "--dataset", "toyset", "--data.select_on", "test")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "toyset" / "toy@tiny" / "seed0"
    assert selected_on(run) == "test"
    # The checkpoint says it, wherever it lies and whatever today's flags are.
    moved = tmp_path / "elsewhere.ckpt"
    shutil.copy(run / "checkpoints" / "best.ckpt", moved)
    named = ("test", "--method", "toy", "--dataset", "toyset", "--ckpt")
    for number, (checkpoint, expected) in enumerate(
        ((run / "checkpoints" / "best.ckpt", "test"), (moved, "test"), (run / "checkpoints" / "last.ckpt", "none"))
    ):
        out = tmp_path / f"again {number}"
        done = toy_data.run(tmp_path, *named, str(checkpoint), "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert selected_on(out) == expected
    entry = read(moved)["rrsis_bench"]
    assert entry["data"]["dataset"] == "toyset"
    assert len(entry["data"]["manifest_sha256"]) == 64
    assert entry["config"]["data"]["select_on"] == "test"
    assert entry["run"] == read(run / "checkpoints" / "last.ckpt")["rrsis_bench"]["run"]


def test_a_checkpoint_of_the_first_format_is_told_by_its_run_folder(tmp_path: Path) -> None:
    old = {ENTRY: {"format": 1, "method": "toy", "variant": "tiny", "options": {}}}
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    assert selection_split(old, run.best) == "unknown"
    run.write_config("model: {method: toy}\ndata: {dataset: tiny, select_on: test}\n")
    assert selection_split(old, run.best) == "test"
    assert selection_split(old, run.last) == "none"
    assert selection_split(old, tmp_path / "best.ckpt") == "unknown"


def selected_on(run: Path) -> str:
    return str(json.loads((run / "result.json").read_text())["selected_on"])
