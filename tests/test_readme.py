"""Every command that README and pages show is run here, or shown to stop with the one clear message it promises."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import forked
from rrsis_bench.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/data.md", "docs/configuration.md", "docs/own-method.md", "docs/predictions.md")
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
LIMITS = "--trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 2"


def commands() -> list[str]:
    """All command lines of the pages' bash blocks, comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def walk() -> list[str]:
    """The commands that lead from made-up data to a board."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    section = page.partition("## The whole way on made-up data")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    return [re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines()]


# How each shown command is proved. "runs": as it stands, exit 0. "missing": exit 3 and names what is to be had.
# "target": a make target that exists (the targets themselves are what CI runs). "needs": run in another test.
PROOF = {
    "make demo": "target",
    "make test": "target",
    "make leaderboard": "target",
    "pip install -e '.[lite]'": "extra",
    "rrsis-bench data list": "runs",
    "rrsis-bench forecast --method lavt --dataset rrsisd": "runs",
    "export RRSIS_DATA=/path/to/data": "variable",
    "rrsis-bench data fetch refsegrs": "needs",
    "rrsis-bench data verify rrsisd": "missing",
    "rrsis-bench fit --method lavt --dataset rrsisd --trainer gpu": "missing",
    "rrsis-bench test --run runs/rrsisd/lavt@base/seed0 --overwrite": "no run",
    "rrsis-bench test --run runs/rrsisd/lavt@base/seed0 --perturb haze:3": "no run",
    'rrsis-bench predict --run runs/rrsisd/lavt@base/seed0 --image scene.png --text "the white airplane on the left"': (
        "no run"
    ),
    "rrsis-bench sweep lite --dry-run": "runs",
    "rrsis-bench sweep rrsisd": "other test",  # tests/unit/test_ready_sweeps.py, tests/integration/test_contribution.py
    "rrsis-bench status rrsisd": "other test",
    **dict.fromkeys(walk(), "walk"),
    "rrsis-bench sweep tiny --dry-run": "runs",
    "rrsis-bench sweep SWEEP.yaml --launcher slurm": "no file",
    "rrsis-bench status SWEEP.yaml": "no file",
    "rrsis-bench results table SWEEP.yaml": "no file",
    "rrsis-bench weights prefetch --method lavt": "offline",
    "rrsis-bench results compare runs/A runs/B": "no file",
    "rrsis-bench results explain runs/A": "no file",
    "rrsis-bench results score predictions.jsonl --dataset rrsisd --split test --method mine": "no file",
}


def run(line: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    assert words[0] == "rrsis-bench"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    env |= {f"RRSIS_{name.upper()}": str(tmp_path / name) for name in ("data", "runs", "cache")}
    command = [sys.executable, "-m", "rrsis_bench", *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)


def test_no_command_is_unproved() -> None:
    assert set(commands()) == set(PROOF)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line, kind in PROOF.items() if kind == "runs"])
def test_command_runs(line: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line, kind in PROOF.items() if kind == "missing"])
def test_command_says_what_is_missing(line: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    (message,) = [part for part in done.stderr.splitlines() if part.startswith("rrsis-bench: error:")]
    assert "rrsisd" in message
    assert "rrsis-bench data verify rrsisd" in message, "the message says how to verify"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line, kind in PROOF.items() if kind == "no run"])
def test_command_without_a_run_says_so(line: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode in {1, 2, 3}, done.stdout
    assert "runs/rrsisd/lavt@base/seed0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_walk_on_made_up_data_ends_with_a_row_of_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rrsis_bench.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RRSIS_RUNS", raising=False)
    monkeypatch.setenv("RRSIS_CACHE", str(tmp_path / "cache"))
    for line in walk():
        words = shlex.split(line.replace("/tmp/made-up", str(tmp_path / "made-up")))
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("="))  # type: ignore[arg-type]
        elif words[0] == "python":
            exec(words[2])  # our own page
        else:
            assert main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    board = (tmp_path / "made-up/results/leaderboard/rrsisd.md").read_text(encoding="utf-8")
    assert "| LAVT (tiny) |" in board
    assert "(8 samples)" in board


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line, kind in PROOF.items():
        if kind == "target":
            assert re.search(rf"^{line.removeprefix('make ')}:", makefile, flags=re.MULTILINE), line


def blocks(language: str) -> list[str]:
    """The code blocks of a language on the page of a method of one's own."""
    page = (ROOT / "docs" / "own-method.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_method_of_the_page_trains_and_passes_its_contract(tmp_path: Path) -> None:
    """The one-page method is taken from the page as it stands and made an installed third-party method."""
    ((source,), (card, config), (entry,)) = blocks("python"), blocks("yaml"), blocks("toml")
    package = tmp_path / "mypackage" / "mymethod"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (line,) = re.findall(r"an `__init__.py` of one line:\s+`(.*?)`", README)
    (package / "__init__.py").write_text(line + "\n", encoding="utf-8")
    for name, text in (("model.py", source), ("card.yaml", card), ("config.yaml", config)):
        (package / name).write_text(text, encoding="utf-8")
    info = tmp_path / "mypackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1.0\n", encoding="utf-8")
    points = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", entry).replace('"', "")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    env |= {"RRSIS_RUNS": str(tmp_path / "runs"), "RRSIS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}

    def call(words: str) -> subprocess.CompletedProcess[str]:
        return forked.run(main, ["rrsis-bench", *shlex.split(words)], env, cwd=tmp_path)

    checked = call("methods check mymethod")
    assert checked.returncode == 0, checked.stdout + checked.stderr[-3000:]
    shown = call("methods show mymethod")
    assert "from-paper" in shown.stdout
    assert "trained from scratch" in shown.stdout
    refused = call(f"fit --method mymethod {LIMITS} --model.options.words=SUM")
    assert refused.returncode == 2
    assert "mymethod: option 'words' must be one of mean, sum, not 'SUM'. Did you mean 'sum'?" in refused.stderr
    done = call(f"fit --method mymethod {LIMITS} --trainer.limit_test_batches 2 --data.num_workers 0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "runs" / "tiny" / "mymethod@tiny" / "seed0" / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line, kind in PROOF.items() if kind in {"no file", "offline"}])
def test_command_names_what_is_not_there(line: str, tmp_path: Path) -> None:
    """The words are understood; what they name is not on this machine, and the one line says so."""
    done = run(line, tmp_path)
    assert done.returncode in {1, 2, 3}, done.stdout
    said = [part for part in done.stderr.splitlines() if part.startswith("rrsis-bench: error:")]
    assert said
    named = next(name for name in ("SWEEP.yaml", "runs/A", "predictions.jsonl", "lavt") if name in line)
    assert named in "".join(said)
    assert "usage:" not in done.stderr
    assert "Traceback" not in done.stderr
