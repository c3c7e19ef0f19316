"""The slurm launcher against a real SLURM, which `make test-slurm` starts; skipped without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from helpers.sweep_tools import prepare, run, states, write
from rrsis_bench.engine.checkpoint import read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # a job that is queued again waits two minutes, and machines may be busy
    pytest.mark.skipif(not os.environ.get("RRSIS_TEST_SLURM"), reason="needs a SLURM of its own: make test-slurm"),
]
RESOURCES = {"cpus_per_task": 1, "timeout_min": 20}
ENDED = {"done", "failed"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("slurm"))


def wait_for(condition: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(3)


def environment() -> dict[str, str]:
    return {"SLURM_CONF": os.environ["SLURM_CONF"]}


def test_an_array_of_cells(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    flags = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2}
    cells = {"broken": {"method": "toy", "seeds": [0], "flags": {"model.options.no_such_option": 1}}}
    sweep = write(tmp_path / "s.yaml", seeds=[0], flags=flags, cells=cells, slurm=RESOURCES)
    submitted = run(root, runs, "sweep", str(sweep), "--launcher", "slurm", **environment())
    assert submitted.returncode == 0, submitted.stderr
    assert submitted.stdout.count("queued toyset/toy@tiny") == 2
    again = run(root, runs, "sweep", str(sweep), "--launcher", "slurm", **environment())
    assert "nothing to do" in again.stdout, "what is queued was queued twice"
    wait_for(lambda: set(states(root, runs, sweep).values()) <= ENDED)
    good, broken = "toyset/toy@tiny/seed0", "toyset/toy@tiny+broken/seed0"
    assert states(root, runs, sweep) == {good: "done", broken: "failed"}
    state = json.loads((runs / good / "cell.json").read_text())
    assert state["job"] == (runs / good / "cell.job").read_text().strip()
    assert "no_such_option" in json.loads((runs / broken / "cell.json").read_text())["message"]
    assert json.loads((runs / good / "result.json").read_text())["training"]["strategy"] == "SingleDeviceStrategy"
    log = (runs / good / "cell.log").read_text()
    assert "SLURM" not in log, "Lightning thought that the job was its own"


def test_a_job_that_must_end_is_queued_again_and_resumes(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folder = runs / "toyset/toy@tiny/seed0"
    sweep = write(tmp_path / "s.yaml", seeds=[0], flags={"trainer.max_epochs": 9000}, slurm=RESOURCES)
    submitted = run(root, runs, "sweep", str(sweep), "--launcher", "slurm", **environment())
    assert submitted.returncode == 0, submitted.stderr
    job = (folder / "cell.job").read_text().strip()
    try:
        wait_for((folder / "checkpoints" / "last.ckpt").is_file)
        # What SLURM sends some time before a job's limit, and when it is preempted.
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        wait_for(lambda: json.loads((folder / "cell.json").read_text())["state"] == "queued")
        steps = read(folder / "checkpoints" / "last.ckpt")["global_step"]
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
        wait_for(lambda: read(folder / "checkpoints" / "last.ckpt")["global_step"] > steps)
        assert json.loads((folder / "cell.json").read_text())["attempts"] == 2
        assert list(folder.glob("metrics-before-resume-*.csv")), "the second attempt did not resume"
    finally:
        subprocess.run(["scancel", job], check=False)
    wait_for(lambda: states(root, runs, sweep)["toyset/toy@tiny/seed0"] == "interrupted")


def test_a_wrong_parameter_gets_one_line(root: Path, tmp_path: Path) -> None:
    for slurm, hint in (
        ({"partitoin": "gpu"}, "partitoin"),
        ({**RESOURCES, "slurm_partition": "none"}, "SLURM refuses"),
    ):
        sweep = write(tmp_path / "s.yaml", seeds=[0], slurm=slurm)
        done = run(root, tmp_path / "runs", "sweep", str(sweep), "--launcher", "slurm", **environment())
        assert done.returncode in {1, 2}
        assert hint in done.stderr
        assert "Traceback" not in done.stderr
        assert states(root, tmp_path / "runs", sweep) == {"toyset/toy@tiny/seed0": "missing"}
