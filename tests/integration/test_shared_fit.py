"""`fit` and `test` of a method that shares images, nothing mocked."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rrsis_bench.cli import main
from rrsis_bench.run.folder import RunFolder

pytestmark = pytest.mark.slow


def test_groups_are_stated_and_other_batches_give_the_same_samples(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    words = ["--data.limit={train: 32, val: 8, test: 24}", "--trainer", "cpu", "--data.num_workers=0"]
    words += ["--trainer.max_epochs=1", "--model.schedule.warmup_steps=0", "--data.expressions_per_image=4"]
    assert main(["fit", "--method", "rsrefseg2", "--out", str(folder.path), *words]) == 0
    assert folder.result()["training"]["expressions_per_image"] == 4
    assert yaml.safe_load(folder.config_path.read_text())["data"]["expressions_per_image"] == 4
    other = RunFolder(tmp_path / "other")
    again = ["test", "--run", str(folder.path), "--out", str(other.path), "--data.eval_batch_size=5"]
    assert main(again) == 0
    assert other.result()["samples_sha256"] == folder.result()["samples_sha256"]
