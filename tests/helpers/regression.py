"""Measures the tiny regression of a method: its first losses, its logits afterwards, and the score of a training."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from rrsis_bench import cli
from rrsis_bench.engine.load import load_run
from rrsis_bench.methods.contract.subject import random_batch, score
from rrsis_bench.run.folder import RunFolder

GOLDEN = Path(__file__).parents[1] / "regression" / "golden"
FIRST = 5
UNTRAINED = ("prior-image", "prior-text")
# The family learns from random weights and needs longer to leave the start.
STEPS = {
    "s4eca": 125, "lavt": 300, "fianet": 300, "rmsin": 300, "lgce": 400, "btdnet": 300, "crobim": 250, "clipseg": 200,
    "detris": 125, "rsrefseg2": 125, "pslgsam": 125,
    "prior-image": 125, "prior-text": 125,
}  # fmt: skip
"""Method -> steps of the training whose score is held. The others learn nothing in the time that a test can take."""


def _fit(method: str, steps: int, log_every: int) -> list[str]:
    words = ["fit", "--method", method, "--dataset", "tiny", "--variant", "tiny", "--seed", "0"]
    flags = ["--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1"]
    return [*words, *flags, "--trainer.log_every_n_steps", str(log_every), "--data.num_workers", "0"]


def _run(root: str, method: str) -> RunFolder:
    return RunFolder(Path(root) / "tiny" / f"{method}@tiny" / "seed0")


def measure_start(method: str) -> dict[str, Any]:
    """Train for five steps and read the losses; then read the mean and spread of the logits on a batch of noise.

    One thread, so that the order of summation does not depend on the machine's cores. The logits are those of scoring:
    a layer that behaves otherwise in evaluation changes them, and no loss.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as root, mock.patch.dict(os.environ, {"RRSIS_RUNS": root}):
            short = ["--data.limit", "{val: 8, test: 8}"]
            if method not in UNTRAINED:
                short += ["--model.schedule.warmup_steps", "0"]
            assert cli.main([*_fit(method, FIRST, 1), *short]) == 0
            run = _run(root, method)
            with run.metrics_path.open(encoding="utf-8") as file:
                losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
            trained = load_run(run).method
            logits = score(trained, random_batch(trained.input_spec))
    finally:
        torch.set_num_threads(threads)
    return {"losses": losses, "logits": {"mean": float(logits.mean()), "std": float(logits.std())}}


def measure_score(method: str) -> float:
    """Train for the method's `STEPS` in a process of its own, with one thread, and read the oIoU of the tiny test."""
    with tempfile.TemporaryDirectory() as root:
        env = os.environ | {"RRSIS_RUNS": root, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "rrsis_bench", *_fit(method, STEPS[method], 50)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        result = json.loads(_run(root, method).result_path.read_text(encoding="utf-8"))
    return float(result["metrics"]["native-v1"]["oiou"]["value"])
