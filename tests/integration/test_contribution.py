"""A contributor's way from data to boards: verify, the ready sweeps, export, and a clone that passes the checks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
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
SEED_OF = {"rrsisd": 0, "refsegrs": 0, "risbench": 0, "lite": 1, "released": 2, "zero-shot": 0}
"""Ready sweep -> seed of its cells; the same small network stands in for several variants."""
ALL = ("retrained", "official-weights", "zero-shot")
DATASETS = {"rrsisd": ALL, "refsegrs": ALL, "risbench": ("retrained", "zero-shot")}
"""Data set -> kinds of the rows that its board gets."""
ROW_OF = {"retrained": ("lavt", "tiny"), "official-weights": ("lavt", "tiny"), "zero-shot": ("clipseg", "zero-shot")}


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


def small(name: str, folder: Path) -> Path:
    """A ready sweep with small networks, a short training and one seed; its data sets and its kind stay."""
    content = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
    content |= {"trainer": "cpu", "seeds": [SEED_OF[name]], "flags": {"data.num_workers": 0}}
    if name == "zero-shot":
        weights = {"model.options.network_weights": str(folder / "clipseg"), "model.options.image_size": SIDE}
        content |= {"methods": ["clipseg"], "variants": ["zero-shot"], "flags": {**content["flags"], **weights}}
    else:
        content |= {"methods": ["lavt"], "variants": ["tiny"]}
        if "weights" in content:
            content["weights"] = {"lavt": dict.fromkeys(content["datasets"], str(folder / "authors.pth"))}
        else:
            content["flags"] |= SHORT
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def prepare(folder: Path) -> None:
    """Made-up data in the real layouts, and the files of weights that the sweeps name."""
    for name in DATASETS:
        create(name).write_fake(folder / "data" / name, 17, 0, size=96)
        assert f"{name} in" in run(folder, "data", "verify", name, "--quiet")
    torch.manual_seed(0)
    method = registry.load_class("lavt").from_options(config.variant_options("lavt", "tiny"))
    torch.save(official_checkpoint(method, "lavt"), folder / "authors.pth")
    saved(folder / "clipseg")


def test_ready_sweeps_reach_the_boards_of_a_clone(tmp_path: Path) -> None:
    prepare(tmp_path)
    sweeps = [small(name, tmp_path) for name in SEED_OF]
    for sweep in sweeps:
        run(tmp_path, "sweep", str(sweep))
    states = [entry for sweep in sweeps for entry in json.loads(run(tmp_path, "status", str(sweep), "--json"))]
    assert len(states) == 10
    assert {entry["state"] for entry in states} == {"done"}
    results = sorted(path.parent for path in (tmp_path / "runs").rglob("result.json"))
    kinds = [json.loads((path / "result.json").read_text())["kind"] for path in results]
    assert Counter(kinds) == {"retrained": 5, "zero-shot": 3, "official-weights": 2}
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "released.yaml").read_text().replace("authors.pth", "newer.pth"))
    changed = json.loads(run(tmp_path, "status", str(other), "--json"))
    assert {entry["state"] for entry in changed} == {"outdated"}, "another checkpoint of the authors is another cell"

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
    run(tmp_path, "results", "check", "runs")
    for path in results:
        run(tmp_path, "results", "export", str(path), "--to", str(clone / "results" / "runs"))
    run(tmp_path, "leaderboard", tree=clone)
    checked = run(tmp_path, "results", "check", tree=clone)
    assert f"{len(list((clone / 'results' / 'runs').rglob('result.json')))} results checked, 0 bad." in checked
    run(tmp_path, "leaderboard", "--check", tree=clone)
    for name, kinds_of in DATASETS.items():
        with (clone / "results" / "leaderboard" / f"{name}.csv").open(newline="") as stream:
            rows = [(line["kind"], line["method"], line["variant"]) for line in csv.DictReader(stream)]
        assert {row for row in rows if row[0] != "published"} == {(kind, *ROW_OF[kind]) for kind in kinds_of}
