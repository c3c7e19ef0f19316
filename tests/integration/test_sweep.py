"""Sweeps as a user has them: finished cells skipped, crashes that cost one cell, kills, and two at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.sweep_tools import command, environment, prepare, run, states, write
from rrsis_bench.engine.checkpoint import read

pytestmark = pytest.mark.slow
SHORT = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2}
LONG = {"trainer.max_epochs": 9000}
NAMES = [f"toyset/toy@tiny/seed{seed}" for seed in (0, 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("sweep"))


def wait_for(condition: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def result_times(runs: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(runs.rglob("result.json"))]


def test_a_crash_costs_one_cell_and_finished_cells_are_skipped(root: Path, tmp_path: Path) -> None:
    cells = {"broken": {"method": "toy", "seeds": [0], "flags": {"model.options.no_such_option": 1}}}
    sweep = write(tmp_path / "s.yaml", seeds=[0, 1], flags=SHORT, cells=cells)
    runs = tmp_path / "runs"
    first = run(root, runs, "sweep", str(sweep))
    assert first.returncode == 1, first.stderr
    assert "FAILED  toyset/toy@tiny+broken/seed0" in first.stdout
    assert "toy has no option 'no_such_option'" in first.stdout
    assert "3 cells: 2 done, 1 failed" in first.stdout
    broken = "toyset/toy@tiny+broken/seed0"
    assert states(root, runs, sweep) == {**dict.fromkeys(NAMES, "done"), broken: "failed"}
    assert "no_such_option" in (runs / broken / "cell.log").read_text()
    result = json.loads((runs / NAMES[0] / "result.json").read_text())
    assert result["method"]["variant"] == "tiny"
    written = result_times(runs)

    again = run(root, runs, "sweep", str(sweep))
    assert again.returncode == 1
    assert "nothing to do" in again.stdout
    assert "--retry-failed" in again.stdout
    retried = run(root, runs, "sweep", str(sweep), "--retry-failed")
    assert "start   toyset/toy@tiny+broken" in retried.stdout
    assert "start   toyset/toy@tiny/" not in retried.stdout

    mended = {"broken": {"method": "toy", "seeds": [0], "flags": {"model.options.dropout": 0.2}}}
    write(sweep, seeds=[0, 1], flags=SHORT, cells=mended)
    last = run(root, runs, "sweep", str(sweep))
    assert last.returncode == 0, last.stdout
    assert "3 cells: 3 done" in last.stdout
    assert json.loads((runs / broken / "result.json").read_text())["method"]["variant"] == "tiny+broken"
    assert set(written) <= set(result_times(runs)), "a finished cell was run again"

    changed = write(tmp_path / "t.yaml", seeds=[0], flags={**SHORT, "model.optimizer.lr": 0.02})
    assert states(root, runs, changed) == {NAMES[0]: "outdated"}
    anew = run(root, runs, "sweep", str(changed))
    assert "model.optimizer.lr was 0.01 and is 0.02 now" in anew.stdout
    assert anew.returncode == 0
    kept = runs / f"{NAMES[0]}.replaced-1"
    assert json.loads((kept / "result.json.replaced").read_text())["sha256"] == result["sha256"]
    assert states(root, runs, changed) == {NAMES[0]: "done"}

    image = next((root / "data" / "toyset").rglob("*.jpg"))
    before = image.read_bytes()
    try:
        for picture in (root / "data" / "toyset").rglob("*.jpg"):
            picture.write_bytes(before)
        (annotations,) = (root / "data" / "toyset").rglob("instances.json")
        os.utime(annotations)
        other = run(root, runs, "sweep", str(changed), "--dry-run")
        assert "the test split of toyset has changed since" in other.stdout
    finally:
        prepare_again(root)


def prepare_again(root: Path) -> None:
    import shutil

    from helpers import toy_data

    shutil.rmtree(root / "data")
    toy_data.make(root / "data")


def test_a_killed_sweep_resumes(root: Path, tmp_path: Path) -> None:
    """Kill -9 of the sweep alone: its cell is told to save, and the next sweep continues at that checkpoint."""
    runs, folder = tmp_path / "runs", tmp_path / "runs" / NAMES[0]
    sweep = write(tmp_path / "s.yaml", seeds=[0], flags=LONG)
    process = subprocess.Popen(command("sweep", str(sweep)), env=environment(root, runs), cwd=root)
    wait_for((folder / "checkpoints" / "last.ckpt").is_file)
    assert states(root, runs, sweep) == {NAMES[0]: "running"}
    process.kill()
    process.wait()
    wait_for(lambda: states(root, runs, sweep)[NAMES[0]] == "interrupted")
    steps = read(folder / "checkpoints" / "last.ckpt")["global_step"]
    assert steps > 0
    assert not (folder / "result.json").exists()

    second = subprocess.Popen(
        command("sweep", str(sweep)), env=environment(root, runs), cwd=root, stdout=subprocess.PIPE, text=True
    )
    # The first run may save once more after its state is known: the second one shows by what it sets aside.
    wait_for(lambda: any(folder.glob("metrics-before-resume-*.csv")))
    wait_for(lambda: read(folder / "checkpoints" / "last.ckpt")["global_step"] > steps)
    second.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=120)
    assert second.returncode == 130
    assert "stopped" in out
    assert states(root, runs, sweep) == {NAMES[0]: "interrupted"}
    assert list(folder.glob("metrics-before-resume-*.csv")), "the second run did not resume"
    assert not list(folder.parent.glob("*.replaced-*")), "a resumable run was thrown away"
    state = json.loads((folder / "cell.json").read_text())
    assert state["attempts"] == 2


def test_everything_killed_at_once_resumes_too(root: Path, tmp_path: Path) -> None:
    """As a machine that goes down: no process has a chance to write anything."""
    runs, folder = tmp_path / "runs", tmp_path / "runs" / NAMES[0]
    sweep = write(tmp_path / "s.yaml", seeds=[0], flags=LONG)
    process = subprocess.Popen(command("sweep", str(sweep)), env=environment(root, runs), cwd=root)
    wait_for((folder / "checkpoints" / "last.ckpt").is_file)
    runner = json.loads((folder / "cell.lock").read_text())["pid"]
    child = int(Path(f"/proc/{runner}/task/{runner}/children").read_text().split()[0])
    process.kill()
    os.kill(runner, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])
    assert json.loads((folder / "cell.json").read_text())["state"] == "running"
    assert states(root, runs, sweep) == {NAMES[0]: "interrupted"}


def test_two_sweeps_on_one_folder(root: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = write(tmp_path / "s.yaml", seeds=[0, 1], flags=SHORT)
    words = command("sweep", str(sweep))
    both = [
        subprocess.Popen(words, env=environment(root, runs), cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    third = run(root, runs, "sweep", str(sweep))
    assert "2 cells: 2 done" in third.stdout
    for name in NAMES:
        state = json.loads((runs / name / "cell.json").read_text())
        assert state["attempts"] == 1, "both ran it"
        assert not (runs / name / "cell.lock").exists()
    assert run(root, runs, "results", "check", str(runs)).returncode == 0


def test_a_fit_by_hand_keeps_a_sweep_away(root: Path, tmp_path: Path) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "runs" / NAMES[0]
    sweep = write(tmp_path / "s.yaml", seeds=[0], flags=LONG)
    words = ("fit", "--method", "toy", "--dataset", "toyset", "--seed", "0", "--trainer.max_epochs=9000")
    by_hand = subprocess.Popen(command(*words), env=environment(root, runs), cwd=root)
    try:
        wait_for((folder / "checkpoints" / "last.ckpt").is_file)
        assert states(root, runs, sweep) == {NAMES[0]: "running"}
        assert "nothing to do" in run(root, runs, "sweep", str(sweep)).stdout
        second = run(root, runs, *words, "--overwrite")
        assert second.returncode == 2
        assert "in use by process" in second.stderr
    finally:
        by_hand.send_signal(signal.SIGINT)
        assert by_hand.wait(120) == 130
    assert states(root, runs, sweep) == {NAMES[0]: "interrupted"}
