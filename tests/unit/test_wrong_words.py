"""Wrong words on every verb end in one line that says what is wrong: no traceback, no jargon, nothing written."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.wrong_values import WRONG
from helpers.wrong_words import WITH_TORCH, WITHOUT_TORCH
from rrsis_bench import cli
from rrsis_bench.data.pixels.writing import write_image

pytestmark = pytest.mark.slow


def lines(table: str) -> list[str]:
    return [line for line in table.splitlines() if line]


VALUES = [shlex.join(["fit", "--method", "lavt", f"--{key}={word}"]) for key, words in WRONG.items() for word in words
          if key != "model.method"]  # fmt: skip
CASES = [*lines(WITHOUT_TORCH), *VALUES, *lines(WITH_TORCH)]
JARGON = ("<class", "Traceback", "Parser key", "Expected a", "invalid int", "invalid choice", "argparse", "[Errno",
          "None", "True", "False", "the following arguments")  # fmt: skip
NOT_WRONG_WORDS = {
    "fit --method lavt --resume file.txt": 1,
    "test --ckpt file.txt --method lavt": 1,
    "validate --ckpt file.txt --method lavt": 1,
    "results export file.txt": 1,
    "predict --run ready --image ready/picture.png --text ship --ckpt file.txt": 1,
}
"""Case -> exit code, where a file is damaged rather than a word wrong: neither 2 (usage) nor 3 (missing resource)."""


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder: nothing in it may change."""
    folder = tmp_path_factory.mktemp("sentinel")
    files = {
        "file.txt": "mine\n",
        "dir/mine.txt": "mine\n",
        "list.yaml": "- 1\n",
        "scalar.yaml": "model: 3\n",
        "unknown.yaml": "trainr: {max_epochs: 1}\n",
        "nomodel/config.yaml": "data: {dataset: tiny}\n",
        "nodata/config.yaml": "model: {method: lavt, variant: tiny}\n",
        "unfinished/config.yaml": "model: {method: lavt, variant: tiny}\ndata: {dataset: tiny, source: rrsisd}\n",
        "ready/config.yaml": "model: {method: lavt, variant: tiny}\ndata: {dataset: tiny, source: rrsisd}\n",
        "ready/checkpoints/best.ckpt": "mine\n",
        "sweep.yaml": "methods: [lavt]\ndatasets: [tiny]\nflags: {trainer.max_epochs: -5}\n",
        "unknown-sweep.yaml": "methods: [lavt]\ndatasets: [tiny]\nseed: 1\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    write_image(folder / "ready" / "picture.png", np.zeros((8, 8, 3), np.uint8))
    return folder


@pytest.fixture
def _outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentinel: Path) -> None:
    monkeypatch.chdir(sentinel)
    for name in [name for name in os.environ if name.startswith("RRSIS_")]:
        monkeypatch.delenv(name)
    for name in ("RUNS", "CACHE", "DATA"):
        monkeypatch.setenv(f"RRSIS_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def verb_of(case: str) -> str:
    return next(word for word in shlex.split(case) if not word.startswith("RRSIS_"))


def faults(case: str, code: int, said: list[str]) -> Iterator[str]:
    """What is wrong with the answer to a case."""
    said = [line for line in said if not line.startswith("rrsis-bench: note: ")]
    if len(said) != 1 or not said[0].startswith("rrsis-bench: error: "):
        yield f"not one line: {said}"
        return
    if code not in ((2, 3) if case not in NOT_WRONG_WORDS else (NOT_WRONG_WORDS[case],)):
        yield f"exit code {code}"
    if any(word in said[0] for word in JARGON) or len(said[0]) > 700:
        yield f"jargon, or too long: {said[0]}"
    words = shlex.split(case)
    words = words[1:] if words[0] in cli.VERBS else words
    given = [part for word in words for part in word.lstrip("-").split("=", 1)]
    named = [part for word in given for part in (word, *word.strip("[]{}").split(": "), word.rpartition(".")[2])]
    if given and not any(part and part in said[0] for part in named) and " --" not in said[0]:
        yield f"names no word of the command: {said[0]}"


def test_there_are_enough_and_every_verb_has_some() -> None:
    assert len(set(CASES)) > 400
    assert set(cli.VERBS) <= {verb_of(case) for case in CASES}


@pytest.mark.parametrize("verb", sorted({verb_of(case) for case in CASES}))
@pytest.mark.usefixtures("_outside")
def test_wrong_words_end_in_one_line(
    verb: str, sentinel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, found = content(sentinel), {}
    for case in [case for case in CASES if verb_of(case) == verb]:
        words = shlex.split(case)
        with monkeypatch.context() as patch:
            while words[0].startswith("RRSIS_"):
                patch.setenv(*words.pop(0).split("=", 1))
            code = cli.main(words)
        if wrong := list(faults(case, code, capfd.readouterr().err.splitlines())):
            found[case] = wrong
        if (tmp_path / "runs").exists():
            found[case] = ["wrote a run folder"]
            shutil.rmtree(tmp_path / "runs")
    assert found == {}
    assert content(sentinel) == before
