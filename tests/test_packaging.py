"""The wheel, installed into an environment that has the dependencies but not this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from helpers.packages import install

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv whose only own package is the wheel; the dependencies are borrowed from the running environment.

    A path named in a .pth file is searched, but .pth files inside it are not read: so an editable install of the
    checkout does not leak through, and what is imported is the wheel.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def run(environment: Path, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("RRSIS_", "PYTHON"))}
    variables |= {"RRSIS_CACHE": str(tmp_path / "cache"), "RRSIS_RUNS": str(tmp_path / "runs")}
    command = [str(environment / "bin" / words[0]), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, check=False)


def test_wheel_holds_what_the_code_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    for name in tracked:
        if name.startswith(("rrsis_bench/", "baselines/")) and (ROOT / name).is_file():
            assert name in names, f"{name} is not in the wheel"
        if name.startswith("configs/") and (ROOT / name).is_file():
            assert "rrsis_bench/_configs/" + name.removeprefix("configs/") in names, f"{name} is not in the wheel"
    ours = ("rrsis_bench/", "baselines/", "rrsis_bench-")
    assert [name for name in names if not name.startswith(ours)] == [], "tools, tests and results stay at home"
    assert {"rrsis_bench/py.typed", "baselines/py.typed"} <= names, "type checkers read our annotations"


def test_installed_wheel_is_what_runs(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "python", "-c", "import rrsis_bench; print(rrsis_bench.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(environment), done.stdout + done.stderr


@pytest.mark.parametrize("words", [("--version",), ("methods", "list"), ("data", "list"), ("methods", "show", "s4eca")])
def test_installed_verbs_answer(environment: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(environment, tmp_path, "rrsis-bench", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_installed_fit_trains(environment: Path, tmp_path: Path) -> None:
    words = ("fit", "--method", "s4eca", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2")
    limits = ("--trainer.limit_val_batches", "2", "--model.schedule.warmup_steps", "0")
    done = run(environment, tmp_path, "rrsis-bench", *words, *limits)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs" / "tiny" / "s4eca@tiny" / "seed0" / "result.json").is_file()


def test_another_package_of_our_methods_name_and_the_remedy(environment: Path, wheel: Path, tmp_path: Path) -> None:
    """Last of this file: for a moment the other package's `__init__.py` lies where ours did."""
    other = tmp_path / "other_baselines-0.1.6-py3-none-any.whl"
    site = install(tmp_path / "other", "other_baselines", "0.1.6", {"baselines/__init__.py": "raise SystemExit\n"})
    with zipfile.ZipFile(other, "w") as packed:
        for path in filter(Path.is_file, site.rglob("*")):
            packed.write(path, path.relative_to(site))
    pip = ("python", "-m", "pip")
    anew = (*pip, "install", "-q", "--no-deps", "--no-index", "--force-reinstall")
    assert run(environment, tmp_path, *anew, str(other)).returncode == 0
    done = run(environment, tmp_path, "rrsis-bench", "methods", "show", "lavt")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip uninstall other_baselines, then pip install --force-reinstall --no-deps rrsis-bench" in line
    assert run(environment, tmp_path, *pip, "uninstall", "-q", "-y", "other_baselines").returncode == 0
    assert run(environment, tmp_path, "rrsis-bench", "methods", "show", "lavt").returncode == 1
    assert run(environment, tmp_path, *anew, str(wheel)).returncode == 0
    assert run(environment, tmp_path, "rrsis-bench", "methods", "show", "lavt").returncode == 0
