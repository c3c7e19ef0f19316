"""A data set of a few dozen pairs in RRSIS-D's layout, and runs of the toy method on it as separate processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rrsis_bench.data.sources import synthetic

RUNNER = Path(__file__).resolve().with_name("toy_run.py")
COUNTS = {"train": 26, "val": 5, "test": 7}


def make(root: Path) -> Path:
    """Write the data set, and return the folder for `RRSIS_DATA`."""
    recipe = {"preset": "toy", "seed": 0, "layout": "rrsisd"}
    synthetic.write(root / "toyset", recipe, 96, COUNTS)
    return root


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `rrsis-bench` with the toy in a process of its own; runs, data and cache lie under `folder`."""
    environment = {
        **os.environ,
        "RRSIS_DATA": str(folder / "data"),
        "RRSIS_RUNS": str(folder / "runs"),
        "RRSIS_CACHE": str(folder / "cache"),
        "RRSIS_CONFIGS": str(RUNNER.parent / "toy_configs"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **variables,
    }
    command = [sys.executable, str(RUNNER), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
