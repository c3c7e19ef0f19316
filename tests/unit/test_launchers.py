"""A launcher is a class of its own file and a line of one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from rrsis_bench.cli import main
from rrsis_bench.sweep import launchers
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.grid import read_sweep
from rrsis_bench.sweep.launchers.base import Launcher


class Notice(Launcher):
    """Queues nothing, but says what it would have queued."""

    known: set[str] | None = None

    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        print("noticed", *(cell.name for cell in cells))
        return {}

    @classmethod
    def poll(cls) -> set[str] | None:
        return cls.known


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = ModuleType("rrsis_bench.sweep.launchers.notice")
    module.Notice = Notice  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    # The entry goes into the table itself: a module first imported under a replaced table would keep it for good.
    monkeypatch.setitem(launchers.LAUNCHERS, "notice", ("notice:Notice", "say so"))
    monkeypatch.setenv("RRSIS_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"methods": ["lavt"], "datasets": ["tiny"], "seeds": [0]}))
    return path


def test_a_new_launcher_is_one_line(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(sweep), "--launcher", "notice"]) == 0
    assert "noticed tiny/lavt@tiny/seed0" in capsys.readouterr().out
    assert main(["sweep", "--help"]) == 0
    assert "notice: say so" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("known", "state"), [(None, "queued"), ({"7"}, "queued"), ({"8"}, "interrupted")])
def test_a_queued_cell_is_asked_of_the_launcher_that_queued_it(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, known: set[str] | None, state: str
) -> None:
    monkeypatch.setattr(Notice, "known", known)
    (cell,) = read_sweep(str(sweep)).cells
    cell.folder.path.mkdir(parents=True)
    from rrsis_bench.run.state import State

    cell.folder.save_state(State(state="queued", launcher="notice", config_hash=cell.config_hash, config=cell.config))
    cell.folder.job_path.write_text("7\n")
    assert main(["status", str(sweep)]) == 0
    assert f"1 {state}" in capsys.readouterr().out


def test_the_dry_run_of_slurm_shows_what_a_job_asks_for(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(sweep), "--launcher", "slurm", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "rrsis-bench fit --method lavt" in out
    assert "cpus_per_task=4" in out
    assert "timeout_min=1440" in out
