"""Another package named `baselines`: named in one line with a remedy, whoever hides whom, and never imported."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import baselines
import rrsis_bench
from helpers.packages import install
from rrsis_bench import namesakes
from rrsis_bench.cli import env

ROOT = Path(__file__).resolve().parents[2]
NEVER = "raise SystemExit('imported')\n"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which another distribution with a package `baselines` is installed."""
    files = {"baselines/__init__.py": NEVER, "baselines/lavt/__init__.py": NEVER}
    return install(tmp_path_factory.mktemp("site"), "Other_Baselines", "0.1.6", files)


def show(method: str, cwd: Path, *path: Path, flags: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Exit code and error lines of showing a method, with folders on PYTHONPATH."""
    command = [sys.executable, *flags, "-m", "rrsis_bench", "methods", "show", method]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, check=False)
    return done.returncode, done.stderr.splitlines()


def test_ours_states_the_suites_version() -> None:
    assert rrsis_bench.__version__ == baselines.RRSIS_BENCH
    assert namesakes.instead() is None


@pytest.mark.slow
def test_found_first_it_is_named_with_the_remedy(other: Path, tmp_path: Path) -> None:
    code, (line,) = show("lavt", tmp_path, other, ROOT)
    assert code == 1
    assert str(other / "baselines") in line
    assert "Other_Baselines 0.1.6" in line
    assert f"Take {other} off PYTHONPATH" in line
    assert show("s4eca", tmp_path, other, ROOT) == (0, [])


def test_hidden_by_ours_it_is_noted_once(other: Path, tmp_path: Path) -> None:
    code, (line,) = show("lavt", tmp_path, ROOT, other)
    assert code == 0
    assert line.startswith(f"rrsis-bench: note: {other / 'baselines'} (Other_Baselines 0.1.6)")
    assert "environment of its own" in line


def test_a_users_folder(tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    assert show("lavt", tmp_path, ROOT) == (0, []), "a folder that is no package hides nothing"
    (tmp_path / "baselines" / "__init__.py").write_text(NEVER)
    code, (line,) = show("lavt", tmp_path, ROOT)
    assert code == 1
    assert f"{tmp_path / 'baselines'} (of no installed package)" in line
    assert "Rename it, or run" in line
    assert show("lavt", tmp_path, ROOT, flags=("-P",)) == (0, []), "the remedy"


def test_the_list_names_it_once(other: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rrsis_bench", "methods", "list"]
    variables = os.environ | {"PYTHONPATH": f"{other}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, check=True)
    assert done.stdout.count("Other_Baselines 0.1.6") == 1
    assert "s4eca" in done.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this suite seems to be installed into, alone on the path."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "baselines"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(namesakes, "PACKAGE", tmp_path / "rrsis_bench")
    return tmp_path


def test_both_in_one_folder_theirs_last(site: Path) -> None:
    install(site, "other-baselines", "0.1.6", {"baselines/__init__.py": NEVER})
    clash = namesakes.instead()
    assert clash is not None
    assert "other-baselines 0.1.6" in clash.problem
    assert "pip uninstall other-baselines, then pip install --force-reinstall --no-deps rrsis-bench" in clash.remedy
    assert namesakes.everywhere() == [clash]


def test_both_in_one_folder_ours_last(site: Path) -> None:
    ours = (ROOT / "baselines" / "__init__.py").read_text(encoding="utf-8")
    install(site, "other-baselines", "0.1.6", {"baselines/__init__.py": ours, "baselines/ppo.py": NEVER})
    install(site, "RRSIS.bench", rrsis_bench.__version__, {"baselines/__init__.py": ours})
    assert namesakes.instead() is None
    assert namesakes.hidden() == []
    (clash,) = namesakes.everywhere()
    assert "other-baselines 0.1.6" in clash.problem


def test_removing_theirs_takes_our_file_along(site: Path) -> None:
    (site / "baselines" / "lavt").mkdir(parents=True)
    clash = namesakes.instead()
    assert clash is not None
    assert clash.remedy.endswith("pip install --force-reinstall --no-deps rrsis-bench.")


def test_ours_of_another_version(site: Path) -> None:
    install(site, "rrsis-bench", "0.0.9", {"baselines/__init__.py": 'RRSIS_BENCH = "0.0.9"\n'})
    clash = namesakes.instead()
    assert clash is not None
    assert f"rrsis-bench 0.0.9, but this is {rrsis_bench.__version__}" in clash.problem


def test_a_module_of_one_file(site: Path) -> None:
    (site / "baselines.py").write_text(NEVER)
    clash = namesakes.instead()
    assert clash is not None
    assert str(site / "baselines.py") in clash.problem


def test_env_lists_it_as_a_problem(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namesakes, "everywhere", lambda: [namesakes.Clash("two of one name", "rename one")])
    assert env.run(argparse.Namespace(json=True)) == 1
    assert {"problem": "two of one name", "remedy": "rename one"} in json.loads(capsys.readouterr().out)["findings"]
