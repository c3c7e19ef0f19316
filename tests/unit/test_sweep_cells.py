"""What has become of a cell: locks, verdicts, estimates, devices. No training."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rrsis_bench.cli import main
from rrsis_bench.config import merge
from rrsis_bench.errors import UsageError
from rrsis_bench.files import write_json
from rrsis_bench.run import lock as locks
from rrsis_bench.run.lock import CellLock, Holder, hold, holder
from rrsis_bench.run.seal import sealed
from rrsis_bench.run.state import State
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.cells import judge
from rrsis_bench.sweep.data_state import DataStates
from rrsis_bench.sweep.estimate import Estimates
from rrsis_bench.sweep.grid import Sweep, read_sweep
from rrsis_bench.sweep.launchers.local import parse_devices, visible_devices
from rrsis_bench.sweep.launchers.slurm import resources, torchrun_words
from rrsis_bench.sweep.run_cell import CellRun, last_line, tail
from rrsis_bench.sweep.times import duration

HASH = "0" * 64


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "s.yaml"
    path.write_text("methods: [lavt, s4eca]\ndatasets: [tiny]\nseeds: [0, 1]\n")
    return read_sweep(str(path), tmp_path / "runs")


@pytest.fixture
def cell(sweep: Sweep) -> Cell:
    return sweep.cells[0]


def finish(cell: Cell, seconds: float = 10.0, epochs: int = 12, content_hash: str = HASH, **changes: Any) -> None:
    """A result as a finished run leaves it, as far as it matters here."""
    score = {"miou": {"value": 0.5}, "oiou": {"value": 0.4}}
    result = {
        "schema": 1,
        "kind": "smoke",
        "method": {"name": cell.method, "variant": cell.variant},
        "dataset": {"name": "tiny", "synthetic": True, "content_hash": content_hash},
        "protocols": ["native-v1"],
        "metrics": {"native-v1": score},
        "training": {"seconds": seconds, "epochs": epochs, "steps": 10 * epochs},
    }
    cell.folder.path.mkdir(parents=True, exist_ok=True)
    saved = json.loads(json.dumps(cell.config))
    saved["trainer"]["num_nodes"] = 1  # the saved file holds every default besides
    saved["model"]["optimizer"] |= changes
    (cell.folder.path / "config.yaml").write_text(yaml.safe_dump(saved))
    write_json(cell.folder.path / "result.json", sealed(result))


def know_data(cell: Cell, folder: Path) -> Path:
    """The content hash of a cell's data as the cache keeps it once it was made."""
    kept = folder / "cache" / "content" / f"{DataStates(compute=False).state(cell.config['data'])}.sha256"
    kept.parent.mkdir(parents=True)
    kept.write_text(HASH)
    return kept


def verdict(cell: Cell) -> tuple[str, str]:
    found = judge(cell, DataStates(compute=False))
    return found.state, found.detail


def test_missing_done_and_outdated(cell: Cell) -> None:
    assert verdict(cell) == ("missing", "")
    finish(cell)
    assert verdict(cell) == ("done", "")
    assert judge(cell, DataStates(compute=False)).scores == (0.5, 0.4)
    finish(cell, lr=0.5)
    state, detail = verdict(cell)
    assert state == "outdated"
    assert "model.optimizer.lr was 0.5 and is" in detail
    finish(cell)
    (cell.folder.path / "result.json").write_text("{")
    assert verdict(cell)[0] == "outdated"
    assert "truncated" in verdict(cell)[1]


def test_a_sweep_with_detail_asks_for_it_and_takes_no_result_without(sweep: Sweep, cell: Cell) -> None:
    sweep.path.write_text("detail: true\n" + sweep.path.read_text())
    detailed = read_sweep(str(sweep.path), sweep.runs).cells[0]
    assert ("--detail" in cell.words, "--detail" in detailed.words) == (False, True)
    assert Cell.from_json(detailed.to_json()).request == detailed.request
    assert cell.config_hash == detailed.config_hash
    finish(cell)
    assert verdict(cell)[0] == "done"
    state, detail = verdict(detailed)
    assert (state, detail.startswith("scored without detail; add it without a new training")) == ("outdated", True)
    result = {**detailed.folder.result(), "detail": {"sha256": HASH, "n": {"test": 1}}}
    write_json(detailed.folder.result_path, sealed(result))
    assert verdict(detailed)[0] == "done"


def test_a_setting_left_to_its_default_since_is_noticed(cell: Cell) -> None:
    """The saved file alone cannot tell a default from a setting; the state that the runner kept can."""
    finish(cell)
    result = json.loads((cell.folder.path / "result.json").read_text())
    state = State(state="done", config_hash=cell.config_hash, config=cell.config, result_sha256=result["sha256"])
    cell.folder.save_state(state)
    assert verdict(cell)[0] == "done"
    given = {**cell.config, "trainer": {**cell.config["trainer"], "max_steps": 5}}
    cell.folder.save_state(replace(state, config_hash="another", config=given))
    assert verdict(cell) == ("outdated", "trainer.max_steps was 5 and is left to its default now")
    cell.folder.save_state(replace(state, config_hash="another", config=given, result_sha256="of another result"))
    assert verdict(cell)[0] == "done", "the state of another run says nothing about this one"


def test_what_a_later_version_brought_and_is_off_outdates_nothing(cell: Cell) -> None:
    finish(cell)
    model = cell.config["model"]
    later = replace(cell, config={**cell.config, "model": {**model, "new_switch": False}})
    assert verdict(later)[0] == "done"
    later = replace(cell, config={**cell.config, "model": {**model, "new_switch": True}})
    assert verdict(later) == ("outdated", "model.new_switch was None and is True now")
    option = {**model, "options": {**model["options"], "new_option": False}}
    assert verdict(replace(cell, config={**cell.config, "model": option}))[0] == "outdated"


def test_other_data_outdate_a_result(cell: Cell, tmp_path: Path) -> None:
    finish(cell)
    data = DataStates(compute=False)
    assert data.content(cell.config["data"]) is None, "not hashed yet"
    kept = know_data(cell, tmp_path)
    assert verdict(cell)[0] == "done"
    kept.write_text("1" * 64)
    assert verdict(cell) == ("outdated", "the test split of tiny has changed since")
    elsewhere = {**cell.config["data"], "generator": None, "root": str(tmp_path / "nowhere")}
    assert data.state(elsewhere) == ""
    assert data.content(elsewhere) is None


def test_data_that_change_during_a_run_are_compared_by_content(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(cell)
    noted = State()
    for now, kept in (("as before", "as before"), ("corrected meanwhile", "")):
        monkeypatch.setattr(DataStates, "state", lambda self, data, now=now: now)
        CellRun(cell)._conclude(noted, 0, "as before")
        assert (noted.state, noted.data_state) == ("done", kept)


def test_failed_interrupted_and_queued(cell: Cell) -> None:
    cell.folder.path.mkdir(parents=True)
    state = State(state="failed", config_hash=cell.config_hash, config=cell.config, message="exit code 2: bad")
    cell.folder.save_state(state)
    assert verdict(cell) == ("failed", "exit code 2: bad")
    other = {**cell.config, "model": {**cell.config["model"], "monitor": "pr50"}}
    cell.folder.save_state(replace(state, config_hash="another", config=other))
    assert verdict(cell) == ("outdated", "failed, model.monitor was 'pr50' and is 'oiou' now")
    cell.folder.save_state(replace(state, state="running", message=""))
    assert verdict(cell) == ("interrupted", "its process is gone")
    cell.folder.save_state(replace(state, state="queued"))
    assert verdict(cell)[0] == "queued"
    (cell.folder.path / "cell.json").write_text("half a fi")
    assert verdict(cell) == ("missing", "")
    finish(cell)
    (cell.folder.path / "result.json").unlink()
    assert verdict(cell) == ("interrupted", "started by hand")


def test_a_lock_is_live_while_its_process_is(cell: Cell) -> None:
    taken = CellLock.acquire(cell.folder.path)
    assert taken is not None
    assert CellLock.acquire(cell.folder.path) is None
    assert holder(cell.folder.path) == taken.me
    assert verdict(cell)[0] == "running"
    assert judge(cell, DataStates(compute=False), own=taken.me).state == "missing"
    assert taken.beat()
    taken.release()
    assert holder(cell.folder.path) is None

    code = (
        "import sys, pathlib; from rrsis_bench.run.lock import CellLock; "
        "print(CellLock.acquire(pathlib.Path(sys.argv[1])) is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cell.folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert (cell.folder.path / "cell.lock").is_file(), "the process ended without giving it back"
    again = CellLock.acquire(cell.folder.path)
    assert again is not None
    reused = {**asdict(again.me), "born": "1"}
    write_json(cell.folder.path / "cell.lock", reused)
    assert holder(cell.folder.path) is None, "another process with the same number was taken for the holder"


def test_a_lock_of_another_host_lives_by_its_heartbeat(cell: Cell) -> None:
    cell.folder.path.mkdir(parents=True)
    other = Holder("another-host", 1, 1, "", "token", time.time())
    path = cell.folder.path / "cell.lock"
    write_json(path, asdict(other))
    assert holder(cell.folder.path) == other
    assert CellLock.acquire(cell.folder.path) is None
    old = time.time() - locks.STALE_SECONDS - 1
    os.utime(path, (old, old))
    mine = CellLock.acquire(cell.folder.path)
    assert mine is not None
    write_json(path, asdict(other))  # the other one wakes up and takes it back
    assert not mine.held()
    mine.release()
    assert path.is_file(), "a lock that is not ours any more was removed"


def test_a_heartbeat_from_the_future_does_not_lock_for_ever(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, now = cell.folder.path, time.time()
    folder.mkdir(parents=True)
    other = Holder("another-host", 1, 1, "", "token", now)
    write_json(folder / "cell.lock", asdict(other))
    future = now + 10 * 365 * 86_400
    os.utime(folder / "cell.lock", (future, future))
    assert holder(folder) == other  # it may be alive, with a clock that is wrong
    assert cell.folder.content() == []
    monkeypatch.setattr(time, "time", lambda: now + locks.STALE_SECONDS - 5)
    assert holder(folder) == other
    os.utime(folder / "cell.lock", (future + 10, future + 10))  # it is alive
    monkeypatch.setattr(time, "time", lambda: now + locks.STALE_SECONDS + 5)
    assert CellLock.acquire(folder) is None
    monkeypatch.setattr(time, "time", lambda: now + 2 * locks.STALE_SECONDS + 6)
    assert holder(folder) is None
    assert CellLock.acquire(folder) is not None


@pytest.mark.parametrize(("ahead", "left"), [(-60, 240), (60, 360), (86_400, 300)])
def test_a_lock_of_another_host_says_where_it_is_and_when_it_ends(cell: Cell, ahead: float, left: int) -> None:
    folder, now = cell.folder.path, time.time()
    folder.mkdir(parents=True)
    write_json(folder / "cell.lock", asdict(Holder("another-host", 1, 17, "", "token", now)))
    os.utime(folder / "cell.lock", (now + ahead, now + ahead))
    with pytest.raises(UsageError, match="in use by process 17 on another-host") as refused, hold(folder):
        pass
    assert str(folder / "cell.lock") in str(refused.value)
    stated = int(re.findall(r"the lock ends at .* UTC, in (\d+) s", str(refused.value))[0])
    assert abs(stated - left) < 5
    assert verdict(cell)[0] == "running"
    assert "without a further sign of life" in verdict(cell)[1]


def test_takers_exclude_each_other(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time; from rrsis_bench.run.lock import CellLock; "
        "taken = CellLock.acquire(pathlib.Path(sys.argv[1])); print(int(taken is not None), flush=True); "
        "sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    takers = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    won = [int(taker.stdout.readline()) for taker in takers if taker.stdout is not None]
    for taker in takers:
        taker.communicate("")
    assert sum(won) == 1


def test_hold_refuses_a_folder_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(tmp_path):
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on .*cell.lock"), hold(tmp_path):
            pass
        monkeypatch.setenv(locks.TOKEN, "the runner of the cell holds it")
        with hold(tmp_path):
            pass
        assert holder(tmp_path) is not None
    assert holder(tmp_path) is None


def test_files_set_aside_reach_no_board(cell: Cell) -> None:
    finish(cell)
    held = CellLock.acquire(cell.folder.path)
    assert held is not None
    first, second = cell.folder.set_aside(), None
    assert first is not None
    assert sorted(path.name for path in first.iterdir()) == ["config.yaml", "result.json.replaced"]
    assert held.held()
    assert cell.folder.set_aside() is None
    finish(cell)
    second = cell.folder.set_aside()
    assert second is not None
    assert second.name == "seed0.replaced-2"


def test_estimates_scale_and_order(sweep: Sweep) -> None:
    lavt, lavt1, s4eca, _ = sweep.cells
    estimates = Estimates([sweep.runs])
    assert estimates.seconds(lavt) is None
    finish(lavt, seconds=100.0, epochs=6)
    finish(s4eca, seconds=30.0, epochs=5)
    estimates = Estimates([sweep.runs])
    assert estimates.seconds(lavt1) == pytest.approx(200.0)  # 12 epochs are asked for
    assert [cell.method for cell in estimates.longest_first(sweep.cells)] == ["lavt", "lavt", "s4eca", "s4eca"]
    named = replace(s4eca, config=merge(s4eca.config, {"model": {"variant": "tiny+named"}}))
    assert estimates.seconds(named) == estimates.seconds(s4eca)
    short = {**lavt.config, "trainer": {**lavt.config["trainer"], "max_steps": 6}}
    assert estimates.seconds(replace(lavt, config=short)) == pytest.approx(10.0)
    unknown = replace(s4eca, config=merge(s4eca.config, {"data": {"dataset": "small"}}))
    assert estimates.longest_first([lavt, unknown])[0] == unknown


def test_logs(tmp_path: Path) -> None:
    log = tmp_path / "cell.log"
    assert tail(log) == []
    log.write_text("# 2026-01-01T00:00:00Z rrsis-bench fit --method a\nrrsis-bench: error: old\n")
    with log.open("a") as stream:
        stream.write("# 2026-01-02T00:00:00Z rrsis-bench fit --method a\nepoch 1\n\nrrsis-bench: error: new\nbye\n")
    assert tail(log) == ["epoch 1", "rrsis-bench: error: new", "bye"]
    assert last_line(log) == "new"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = (
        "GPU 0: NVIDIA A (UUID: GPU-aa)\nGPU 1: NVIDIA B (UUID: GPU-bb)\n"
        "  MIG 1g.10gb     Device  0: (UUID: MIG-1)\n  MIG 1g.10gb     Device  1: (UUID: MIG-2)\n"
    )
    assert parse_devices(listing) == ["0", "MIG-1", "MIG-2"]
    assert parse_devices("") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_devices() == ["1", "3"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert visible_devices() == []


def test_slurm_resources_follow_the_configuration(sweep: Sweep) -> None:
    cell = sweep.cells[0]
    trainer = {**cell.config["trainer"], "accelerator": "gpu", "devices": 4, "num_nodes": 2}
    wide = replace(cell, config={**cell.config, "trainer": trainer})
    asked = resources(replace(sweep, slurm={"timeout_min": 7, "slurm_partition": "p"}), wide)
    assert asked | {"nodes": 2, "gpus_per_node": 4, "tasks_per_node": 1, "timeout_min": 7} == asked
    assert asked["slurm_partition"] == "p"
    assert "gpus_per_node" not in resources(sweep, cell)
    words = torchrun_words(trainer, 2, "head", "123_4")
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=head:21234", "--rdzv-id=123_4"} <= set(words)
    assert "--nproc-per-node=gpu" in torchrun_words({"devices": "auto"}, 2, "head", "1")


def test_durations() -> None:
    told = [duration(seconds) for seconds in (4.4, 99, 150, 6000, 7200, 11_100)]
    assert told == ["4 s", "99 s", "2 min", "1 h 40 min", "2 h", "3 h 5 min"]


def test_status_shows_the_grid(sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    know_data(sweep.cells[0], tmp_path)
    finish(sweep.cells[0])
    sweep.cells[1].folder.path.mkdir(parents=True)
    failed = State(state="failed", config_hash=sweep.cells[1].config_hash, message="exit code 1: no")
    sweep.cells[1].folder.save_state(failed)
    assert main(["status", str(sweep.path), "--runs", str(sweep.runs)]) == 0
    out = capsys.readouterr().out
    assert "done 40.0" in out
    assert "failed: tiny/lavt@tiny/seed1: exit code 1: no" in out
    assert "4 cells: 1 done, 1 failed, 2 missing" in out
    assert main(["status", str(sweep.path), "--runs", str(sweep.runs), "--json", "--only", "lavt"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["state"] for entry in entries] == ["done", "failed"]
    assert entries[1]["command"][:2] == ["rrsis-bench", "fit"]
    assert main(["sweep", str(sweep.path), "--runs", str(sweep.runs), "--dry-run", "--retry-failed"]) == 0
    out = capsys.readouterr().out
    assert out.count("would run") == 3
    assert "would run tiny/lavt@tiny/seed1 (failed, about 10 s)" in out
    assert main(["sweep", str(sweep.path), "--runs", str(sweep.runs), "--workers", "0"]) == 2
