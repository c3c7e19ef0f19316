"""A split whose expressions cannot be permuted has a score, no language control, and the reason; all verbs cope."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rrsis_bench.cli import main
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import write_image
from rrsis_bench.results.schema import violations

RUN = "own/prior-text@tiny/seed0"


def make(folder: Path, test: Sequence[tuple[str, str]], train: Sequence[tuple[str, str]]) -> Path:
    """Write a data set with these (photograph, category) pairs; val is like train. Returns its manifest."""
    lines = []
    rng = np.random.default_rng(0)
    for split, pairs in (("train", train), ("val", train), ("test", test)):
        for number, (photograph, category) in enumerate(pairs):
            name = f"{split}-{photograph}.png"
            if not (folder / name).is_file():
                write_image(folder / name, rng.integers(0, 255, (32, 32, 3), np.uint8))
            mask = np.zeros((32, 32), np.uint8)
            mask[3 * number % 20 : 3 * number % 20 + 9, 4:20] = 1
            text = f"{category or 'object'} number {number}"
            entry = {"image": name, "rle": encode(mask), "text": text, "category": category, "split": split}
            lines.append(json.dumps(entry))
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def fit(manifest: Path) -> int:
    words = ["fit", "--method", "prior-text", "--variant", "tiny", "--dataset", "own", f"--data.manifest={manifest}"]
    return main([*words, "--data.num_workers=0", "--trainer.enable_progress_bar=false"])


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("RUNS", "CACHE"):
        monkeypatch.setenv(f"RRSIS_{name}", str(tmp_path / name.lower()))


MIXED = [(f"p{number}", ("ship", "dam")[number % 2]) for number in range(4)]
MOSTLY_ONE = [("big", "ship")] * 3 + [("small", "ship")]


def test_no_permutation_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(make(tmp_path / "set", MOSTLY_ONE, MIXED)) == 0
    said = capsys.readouterr().out
    assert "not scored with permuted expressions: 3 of 4 samples are of the photograph" in said
    run = tmp_path / "runs" / RUN
    result = json.loads((run / "result.json").read_text())
    assert result["language_control"] is None
    assert result["no_language_control"].startswith("3 of 4 samples")
    assert result["metrics"]["native-v1"]["n"] == 4
    assert violations(result) == []
    for words in (
        ["test", "--run", str(run), "--overwrite"],
        ["results", "check", str(run)],
        ["results", "rescore", str(run), "--check"],
        ["results", "compare", str(run), str(run)],
        ["results", "export", str(run), "--to", "results/runs"],
        ["leaderboard"],
        ["leaderboard", "--check"],
    ):
        assert main(words) == 0, words
    exported = json.loads((tmp_path / "results" / "runs" / RUN / "result.json").read_text())
    assert exported["no_language_control"] == result["no_language_control"]
    with (tmp_path / "results/leaderboard/own.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["permuted_oiou_ratio"] == ""
    assert "prior-text" in (tmp_path / "results/leaderboard/index.html").read_text()


def test_only_the_test_split_decides(tmp_path: Path) -> None:
    """Train and val are of one photograph: neither is permuted for the control."""
    assert fit(make(tmp_path / "set", MIXED, MOSTLY_ONE)) == 0
    result = json.loads((tmp_path / "runs" / RUN / "result.json").read_text())
    assert result["language_control"]["n"] == 4
    assert "no_language_control" not in result
