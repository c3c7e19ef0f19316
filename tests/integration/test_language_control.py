"""The language control in runs: none where no permutation exists, and on a draw where the split is large."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rrsis_bench.cli import main
from rrsis_bench.data.control import draw
from rrsis_bench.data.manifest import Manifest
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import write_image
from rrsis_bench.engine import task
from rrsis_bench.results.samples import read_samples
from rrsis_bench.results.schema import violations
from rrsis_bench.run.folder import RunFolder

pytestmark = pytest.mark.slow

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


def fit(manifest: Path, *more: str) -> int:
    words = ["fit", "--method", "prior-text", "--variant", "tiny", "--dataset", "own", f"--data.manifest={manifest}"]
    return main([*words, "--data.num_workers=0", "--trainer.enable_progress_bar=false", *more])


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


def test_a_large_split_is_controlled_on_a_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ratio is of the same samples, the result states the draw, and the control scores no other sample."""
    counted: list[int] = []  # the views of each batch
    plain = task.count
    monkeypatch.setattr(task, "count", lambda *args: (counted.append(len(args[-1])), plain(*args))[1])
    path = make(tmp_path / "set", [(f"p{number % 6}", ("ship", "dam")[number % 2]) for number in range(12)], MIXED)
    run = tmp_path / "runs" / RUN
    found, views = {}, {}
    for size in ("7", "12", "full", "none"):
        counted.clear()
        assert fit(path, f"--data.control_samples={size}", "--overwrite") == 0
        views[size] = counted[-1]
        said = capsys.readouterr().out
        found[size] = json.loads((run / "result.json").read_text())
        assert violations(found[size]) == []
        assert ("with permuted expressions of 7 of 12 samples: oIoU" in said) == (size == "7")
    assert views["none"] > 1
    assert views["full"] == views["7"] == 1, "the control counts what its ratio is made of"
    assert found["full"]["language_control"] == found["12"]["language_control"]
    assert "sample" not in found["full"]["language_control"]
    assert found["none"]["language_control"] is None
    assert found["none"]["no_language_control"] == "data.control_samples is none"
    assert "not scored with permuted expressions: data.control_samples is none" in said
    block = found["7"]["language_control"]
    assert block["n"] == 7
    assert {key: block["sample"][key] for key in ("of", "n_images", "seed")} == {"of": 12, "n_images": 4, "seed": 0}
    (manifest,) = (tmp_path / "cache" / "manifests").glob("*.jsonl")
    split, table = Manifest.open(manifest, "test"), read_samples(RunFolder(run))
    kept = draw(split, np.arange(12) % 6, np.arange(12), 7, 0)
    assert kept is not None
    rows = np.isin(table.sample_id, [pair.sample_id for pair in split.take(kept.tolist())])
    truth, found_areas, both = table.view("native")[rows].sum(0)
    assert block["oiou"] == pytest.approx(block["oiou_ratio"] * both / (truth + found_areas - both))
