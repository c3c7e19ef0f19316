"""The trainer verbs' words: misspelt names, missing data, precedence; answered before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rrsis_bench.cli import main

REPORT = """
import sys
from rrsis_bench.cli import main
code = main(sys.argv[1:])
print('torch' in sys.modules)
sys.exit(code)
"""


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", REPORT, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_help_needs_no_torch(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "False"
    assert "--method" in done.stdout
    assert "--help-all" in done.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--method", "s4ec"), "s4eca"),
        (("--method", "s4eca", "--dataset", "rrsisdd"), "rrsisd"),
        (("--method", "s4eca", "--variant", "bse"), "base"),
        (("--method", "s4eca", "--trainer", "gpus"), "gpu"),
        (("--method", "s4eca", "--protocol", "native"), "native-v1"),
        ((), "--method"),
        (("--method", "s4eca", "stray"), "stray"),
    ],
)
def test_a_misspelt_name_fails_at_once(words: tuple[str, ...], hint: str) -> None:
    done = run("fit", *words)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "False", "torch was imported first"
    assert hint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_missing_data_ends_with_3_and_says_all(tmp_path: Path) -> None:
    done = run("fit", "--method", "lavt", "--dataset", "rrsisd", RRSIS_DATA=str(tmp_path))
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "False"
    for words in (str(tmp_path), "Get it from", "rrsis-bench data verify rrsisd"):
        assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    elsewhere = run("fit", "--method", "lavt", "--dataset", "rrsisd", f"--data.root={tmp_path}/other")
    assert elsewhere.returncode == 3
    assert f"{tmp_path}/other" in elsewhere.stderr


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("test", "validate"):
        assert main([verb, "--run", str(tmp_path)]) == 2
        assert "config.yaml" in capsys.readouterr().err


def test_a_run_and_a_method_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("model: {method: s4eca, variant: tiny}\ndata: {dataset: tiny}\n")
    assert main(["test", "--run", str(tmp_path), "--method", "lavt"]) == 2
    assert "--method lavt" in capsys.readouterr().err


@pytest.mark.timing
def test_a_misspelt_name_fails_in_well_under_a_second() -> None:
    started = time.monotonic()
    run("fit", "--method", "s4ec")
    assert time.monotonic() - started < 1.0
