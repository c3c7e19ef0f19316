"""What `fit` shows on a terminal: a line per epoch that stays, a bar that counts alike, and which test is which."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from helpers import toy_data
from helpers.pseudo_terminal import run_in_terminal

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")]


def test_on_a_terminal(tmp_path: Path) -> None:
    toy_data.make(tmp_path / "data")
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {f"RRSIS_{name.upper()}": str(tmp_path / name) for name in ("data", "runs", "cache")}
    environment |= {
        "RRSIS_CONFIGS": str(toy_data.RUNNER.parent / "toy_configs"), "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    command = [sys.executable, str(toy_data.RUNNER), "fit", "--method", "toy", "--dataset", "toyset"]
    said, code = run_in_terminal(command, environment, 80, errors=True)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert code == 0, seen
    for epoch in (1, 2, 3):
        assert re.search(rf"epoch {epoch}/3  step {6 * epoch}  loss \d+\.\d{{4}}  val/miou \d+\.\d\d", seen), seen
        assert re.search(rf"Epoch {epoch}/3\b", seen)
    assert "Epoch 0/" not in seen
    assert seen.index("Epoch 3/3") < seen.index("Test ") < seen.index("Language control")
