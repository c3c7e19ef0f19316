"""A data set of a few dozen pairs in RRSIS-D's layout, and runs of the toy method on it as separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers import forked, toy_run
from rrsis_bench.data.sources import synthetic

RUNNER = Path(__file__).resolve().with_name("toy_run.py")
COUNTS = {"train": 26, "val": 5, "test": 7}


def make(root: Path) -> Path:
    """Write the data set, and return the folder for `RRSIS_DATA`."""
    recipe = {"preset": "toy", "seed": 0, "layout": "rrsisd"}
    synthetic.write(root / "toyset", recipe, 96, COUNTS)
    return root


def _environment(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "RRSIS_DATA": str(folder / "data"),
        "RRSIS_RUNS": str(folder / "runs"),
        "RRSIS_CACHE": str(folder / "cache"),
        "RRSIS_CONFIGS": str(RUNNER.parent / "toy_configs"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **variables,
    }


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `rrsis-bench` with the toy in a forked process; runs, data and cache lie under `folder`."""
    return forked.run(toy_run.run, [str(RUNNER), *words], _environment(folder, variables))


def run_alone(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As `run`, by a Python of its own: with its own order of hashes, and every import anew."""
    command, environment = [sys.executable, str(RUNNER), *words], _environment(folder, variables)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
