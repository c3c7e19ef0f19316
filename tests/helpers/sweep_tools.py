"""Sweeps of the toy method as separate processes. An entry point adds the toy, as it adds another package's method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers import toy_data

TESTS = Path(__file__).resolve().parents[1]


def prepare(root: Path) -> Path:
    """The data set and the toy's entry point, for all sweeps of a test module."""
    toy_data.make(root / "data")
    package = root / "site" / "toy_method-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[rrsis_bench.methods]\ntoy = helpers.toy:Toy\n")
    return root


def environment(root: Path, runs: Path, **variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RRSIS_", "SLURM_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, (root / "site", TESTS, TESTS.parent))),
        "RRSIS_DATA": str(root / "data"),
        "RRSIS_CACHE": str(root / "cache"),
        "RRSIS_CONFIGS": str(TESTS / "helpers" / "toy_configs"),
        "RRSIS_RUNS": str(runs),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        **variables,
    }


def write(path: Path, **content: Any) -> Path:
    """Write a sweep's file for the toy."""
    path.write_text(yaml.safe_dump({"methods": ["toy"], "datasets": ["toyset"], **content}))
    return path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rrsis_bench", *words]


def run(root: Path, runs: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), env=environment(root, runs, **variables), cwd=root, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def states(root: Path, runs: Path, sweep: Path) -> dict[str, str]:
    """Cell name -> state, from the verb `status`."""
    done = run(root, runs, "status", str(sweep), "--json")
    assert done.returncode == 0, done.stderr
    return {entry["cell"]: entry["state"] for entry in json.loads(done.stdout)}
