"""A contributor's way, from data to boards: verify, sweep, check, export, and a clone that passes the checks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from helpers.clipseg_small import SIDE, saved
from helpers.official import official_checkpoint
from rrsis_bench import config, registry
from rrsis_bench.data.sources import create

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "trainer.max_epochs": 1, "trainer.limit_train_batches": 1, "trainer.limit_val_batches": 1, "data.num_workers": 0,
    "model.schedule.warmup_steps": 0,
}  # fmt: skip


def run(folder: Path, *words: str, tree: Path | None = None) -> str:
    """Run a verb in a process of its own, in a folder, with the code of a tree; return what it prints."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("RRSIS_")}
    variables |= {"RRSIS_DATA": str(folder / "data"), "RRSIS_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    variables |= {"PYTHONPATH": str(tree or ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "rrsis_bench", *words], env=variables, cwd=tree or folder, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout


def sweep_file(folder: Path) -> Path:
    """A sweep with one cell of each kind: trained, zero-shot, and the authors' checkpoint."""
    options = config.variant_options("lavt", "tiny")
    torch.manual_seed(0)
    torch.save(official_checkpoint(registry.load_class("lavt").from_options(options), "lavt"), folder / "authors.pth")
    flags = {"model.options.network_weights": str(saved(folder / "clipseg")), "model.options.image_size": SIDE}
    trained = {"methods": ["lavt"], "datasets": ["rrsisd"], "variants": ["tiny"], "trainer": "cpu", "seeds": [0]}
    cells = {"small": {"method": "clipseg", "variant": "zero-shot", "flags": flags}}
    (folder / "mine.yaml").write_text(yaml.safe_dump({**trained, "flags": SHORT, "cells": cells}))
    weights = {"lavt": {"rrsisd": str(folder / "authors.pth")}}
    authors = {**trained, "seeds": [1], "weights": weights, "flags": {"data.num_workers": 0}}
    (folder / "authors.yaml").write_text(yaml.safe_dump(authors))
    return folder / "mine.yaml"


def test_a_result_reaches_the_boards_of_a_clone(tmp_path: Path) -> None:
    create("rrsisd").write_fake(tmp_path / "data" / "rrsisd", 17, 0, size=96)
    assert "rrsisd in" in run(tmp_path, "data", "verify", "rrsisd", "--quiet")
    sweeps = [sweep_file(tmp_path), tmp_path / "authors.yaml"]
    for sweep in sweeps:
        run(tmp_path, "sweep", str(sweep))
    names = ("lavt@tiny/seed0", "clipseg@zero-shot+small/seed0", "lavt@tiny/seed1")
    results = [tmp_path / "runs" / "rrsisd" / name for name in names]
    kinds = [json.loads((path / "result.json").read_text())["kind"] for path in results]
    assert kinds == ["retrained", "zero-shot", "official-weights"]
    states = [json.loads(run(tmp_path, "status", str(sweep), "--json")) for sweep in sweeps]
    assert [entry["state"] for listed in states for entry in listed] == ["done"] * 3
    other = tmp_path / "other.yaml"
    other.write_text(sweeps[1].read_text().replace("authors.pth", "newer.pth"))
    (changed,) = json.loads(run(tmp_path, "status", str(other), "--json"))
    assert changed["state"] == "outdated", "another checkpoint of the authors is another cell"

    clone = tmp_path / "clone"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    # The committed runs of one data set are enough, and the tests of the clone are not run.
    kept = [name for name in tracked if not re.match(r"tests/|results/runs/tiny/", name)]
    for name in kept:
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    run(tmp_path, "results", "check", "runs/rrsisd")
    for path in results:
        run(tmp_path, "results", "export", str(path), "--to", str(clone / "results" / "runs"))
    run(tmp_path, "leaderboard", tree=clone)
    checked = run(tmp_path, "results", "check", tree=clone)
    assert f"{len(list((clone / 'results' / 'runs').rglob('result.json')))} results checked, 0 bad." in checked
    run(tmp_path, "leaderboard", "--check", tree=clone)
    with (clone / "results" / "leaderboard" / "rrsisd.csv").open(newline="") as stream:
        rows = [(line["kind"], line["method"], line["variant"]) for line in csv.DictReader(stream)]
    measured = {row for row in rows if row[0] != "published"}
    assert measured == {
        ("retrained", "lavt", "tiny"),
        ("official-weights", "lavt", "tiny"),
        ("zero-shot", "clipseg", "zero-shot+small"),
    }  # fmt: skip
