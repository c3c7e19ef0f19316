"""A fit on data with empty truths: it warns, skips them, and chooses a checkpoint by a number under every protocol."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from helpers import toy_data
from rrsis_bench.data.masks import encode
from rrsis_bench.data.sources import create

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs a split in RRSIS-D's layout; the first mask of each split is empty."""
    root = tmp_path_factory.mktemp("empty")
    create("rrsisd").write_fake(root / "data" / "toyset", 6, 0, size=96)  # type: ignore[call-arg]
    path = root / "data" / "toyset" / "rrsisd" / "instances.json"
    instances = json.loads(path.read_text())
    for number in (0, 6, 12):
        instances["annotations"][number]["segmentation"] = [encode(np.zeros((96, 96)))]
    path.write_text(json.dumps(instances))
    return root


@pytest.mark.parametrize("rule", ["skip", "keep"])
def test_fit(folder: Path, tmp_path: Path, rule: str) -> None:
    words = ("--protocol", "paper-rsrefseg2-v1", "--trainer.max_epochs=2", "--data.num_workers=0")
    options = () if rule == "skip" else ("--data.empty_truth=keep",)
    done = toy_data.run(
        folder, "fit", "--method", "toy", "--dataset", "toyset", "--out", str(tmp_path / "run"), *words, *options
    )
    assert done.returncode == 0, done.stderr
    warning = "3 samples have an empty truth (train 1, val 1, test 1); by the rule empty_truth: "
    assert f"rrsis-bench: warning: {warning}{rule}" in done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    skipped = rule == "skip"
    assert result["status"] == "complete"
    assert result["dataset"]["n_samples"] == (5 if skipped else 6)
    assert result["dataset"]["n_skipped"] == ({"empty_truth": 1} if skipped else {})
    assert result["metrics"]["native-v1"]["n_empty"] == (0 if skipped else 1)
    assert ("1 sample with an empty truth not scored, empty_truth: skip" in done.stdout) == skipped
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    chosen = [float(row["val/miou"]) for row in rows if row["val/miou"]]
    assert len(chosen) == 2
    assert all(map(math.isfinite, chosen))
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert toy_data.run(folder, "results", "check", str(tmp_path / "run")).returncode == 0
