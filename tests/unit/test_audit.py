"""`data audit`: the rule against loops over pixels, and planted wrong labels found by two kinds of method."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rrsis_bench.boards.collect import load
from rrsis_bench.cli import main
from rrsis_bench.data.pixels import read_rgb
from rrsis_bench.data.sources import create
from rrsis_bench.engine import audit as engine
from rrsis_bench.errors import UsageError
from rrsis_bench.results.audit import judge
from rrsis_bench.run.folder import RunFolder

mask = st.lists(st.booleans(), min_size=12, max_size=12)


@given(truth=mask, preds=st.lists(mask, min_size=2, max_size=4), copies=st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_verdict_is_that_of_loops_over_pixels(truth, preds, copies):
    if copies:  # agreement is rare among random masks
        preds = [preds[0]] * len(preds)

    def iou(a, b):
        union = sum(x or y for x, y in zip(a, b, strict=True))
        return sum(x and y for x, y in zip(a, b, strict=True)) / union if union else 1.0

    pairs = [iou(a, b) for number, a in enumerate(preds) for b in preds[number + 1 :]]
    found = judge(np.array(truth).reshape(3, 4), [np.array(one).reshape(3, 4) for one in preds])
    assert found.agreement == pytest.approx(min(pairs))
    assert found.with_truth == pytest.approx(max(iou(one, truth) for one in preds))
    votes = [sum(column) > len(preds) / 2 for column in zip(*preds, strict=True)]
    assert found.consensus.ravel().tolist() == votes
    assert found.is_candidate == (min(pairs) > 0.7 and found.with_truth < 0.3 and any(votes))


def test_the_bounds_are_exclusive_and_methods_that_find_nothing_name_no_candidate():
    line = np.arange(100)[None]
    ten, seven = line < 10, line < 7
    assert not judge(line > 50, [ten, seven]).is_candidate, "an IoU of 0.7 is not above it"
    assert judge(line > 50, [ten, line < 8]).is_candidate
    assert not judge(line < 3, [ten, ten]).is_candidate, "an IoU of 0.3 is not below it"
    nothing = line < 0
    assert not judge(ten, [nothing, nothing]).is_candidate
    assert judge(nothing, [ten, ten]).is_candidate, "all see what the label says is not there"


def run_folder(path: Path, method: str, dataset: str = "refsegrs", checkpoint: bool = True) -> Path:
    path.mkdir(parents=True)
    content = {"model": {"method": method, "variant": "tiny"}, "data": {"dataset": dataset}}
    (path / "config.yaml").write_text(yaml.safe_dump(content))
    if checkpoint:
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / "best.ckpt").write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([("lavt", "refsegrs", True)], "different methods.*lavt"),
        ([("lavt", "refsegrs", True), ("lavt", "refsegrs", True)], "different methods"),
        ([("lavt", "tiny", True), ("rmsin", "refsegrs", True)], "is a run of tiny, not of refsegrs"),
        ([("lavt", "refsegrs", False), ("rmsin", "refsegrs", True)], "no checkpoint"),
    ],
)
def test_runs_that_cannot_be_audited_with_are_named_in_one_line(runs, message, tmp_path, capsys):
    folders = [str(run_folder(tmp_path / f"r{n}", *one)) for n, one in enumerate(runs)]
    out = tmp_path / "page.html"
    assert main(["data", "audit", "refsegrs", "--run", *folders, "--out", str(out)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not out.exists()
    with pytest.raises(UsageError):
        engine.check_runs([RunFolder(Path(one)) for one in folders], "refsegrs")


@pytest.mark.slow
def test_planted_wrong_labels_are_found_and_shown_with_their_pictures(tmp_path, monkeypatch, capsys):
    """The true places are bright; two methods that find what is bright disagree with labels moved elsewhere."""
    import torch

    from rrsis_bench.engine.load import TrainedMethod
    from rrsis_bench.types import InputSpec

    class Bright(torch.nn.Module):
        shares_images = False
        input_spec = InputSpec((64, 64), "tiny", 12)

        def __init__(self, level):
            super().__init__()
            self.level = level

        def forward(self, batch):
            from rrsis_bench.types import MethodOutput

            return MethodOutput((batch.images.mean(1, keepdim=True) - self.level) * 8)

    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    create("refsegrs").write_fake(root, 4, 0, size=64)
    for number in (9, 11):  # two labels of the test split show the opposite corner
        path = root / "masks" / f"{number}.tif"
        image = read_rgb(root / "images" / f"{number}.tif")
        bright = (image > 250).all(axis=2)
        wrong = np.zeros((64, 64), np.uint8)
        rows, columns = np.nonzero(~bright)
        wrong[rows[:300], columns[:300]] = 255
        from rrsis_bench.data.pixels import write_image

        write_image(path, wrong)
    levels = {"lavt": 1.9, "rmsin": 2.0}
    folders = [run_folder(tmp_path / method, method) for method in levels]

    def load_run(folder, device):
        config = folder.config()
        return TrainedMethod(Bright(levels[config["model"]["method"]]).eval(), config, None, {})

    monkeypatch.setattr(engine, "load_run", load_run)
    out = tmp_path / "page.html"
    words = ["data", "audit", "refsegrs", "--root", str(root), "--run", *map(str, folders), "--out", str(out)]
    assert main([*words, "--device", "cpu"]) == 0
    assert "2 of 4 samples are candidates" in capsys.readouterr().out
    text = out.read_text()
    assert re.findall(r"<strong>([^<]*)</strong>", text) in (["9", "11"], ["11", "9"])
    assert "lavt@tiny, rmsin@tiny" in text
    assert "http" not in text
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(pictures) == 2
    assert all(base64.b64decode(one)[:2] == b"\xff\xd8" for one in pictures)
    # The record of the same candidates is what the board of audits shows.
    (tmp_path / "results" / "audits").mkdir(parents=True)
    out.with_suffix(".json").rename(tmp_path / "results" / "audits" / "refsegrs.json")
    boards, warnings = load(tmp_path / "results")
    assert warnings == []
    audits, candidates = boards[-1].beside
    assert [(row["n_samples"], row["n_candidates"], row["share"]) for row in audits.rows] == [(4, 2, 0.5)]
    assert [row["sample_id"] for row in candidates.rows] == re.findall(r"<strong>([^<]*)</strong>", text)
    assert candidates.rows[0]["show"].startswith("data show refsegrs --split test --index ")
