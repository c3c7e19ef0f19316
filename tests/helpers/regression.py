"""Measures the tiny regression of a method: its first losses, and the score of a short training."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "regression" / "golden"
# The family learns from random weights and needs longer to leave the start.
STEPS = {
    "s4eca": 125, "lavt": 300, "fianet": 300, "rmsin": 300, "lgce": 400, "btdnet": 300, "crobim": 250, "clipseg": 200,
}  # fmt: skip
LOSSES_ONLY = ("groundedsam", "rs2sam2", "sam3")
"""Methods that find nothing yet after as many steps as a test can take: their first losses alone are held."""
DEFAULT_STEPS = 125


def measure(method: str) -> dict[str, Any]:
    """Train a method's tiny variant for a fixed number of steps in a process of its own, and read its losses and score.

    The process has one thread, so that the order of summation and the losses do not depend on the machine's cores.
    """
    steps = 5 if method in LOSSES_ONLY else STEPS.get(method, DEFAULT_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"RRSIS_RUNS": folder, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        words = ["fit", "--method", method, "--dataset", "tiny", "--variant", "tiny", "--seed", "0"]
        flags = ["--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1"]
        data = ["--data.num_workers", "0"]
        if method in LOSSES_ONLY:
            data += ["--model.schedule.warmup_steps", "0", "--data.limit", "{val: 8, test: 8}"]
        done = subprocess.run(
            [sys.executable, "-m", "rrsis_bench", *words, *flags, *data],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        run = Path(folder) / "tiny" / f"{method}@tiny" / "seed0"
        with (run / "metrics.csv").open(encoding="utf-8") as file:
            losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    score = None if method in LOSSES_ONLY else result["metrics"]["native-v1"]["oiou"]["value"]
    return {"steps": steps, "losses": losses[:5], "oiou": score}
