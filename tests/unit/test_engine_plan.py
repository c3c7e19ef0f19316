"""Flags, precedence and accumulation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from rrsis_bench.cli import _trainer
from rrsis_bench.cli.fit import add_arguments
from rrsis_bench.errors import UsageError


def plan(*words: str) -> _trainer.Plan:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    return _trainer.make_plan(*parser.parse_known_args(words))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--a.b=1", "--a.c", "x"], {"a": {"b": 1, "c": "x"}}),
        (["--a.b=1e-4", "--a.b=2"], {"a": {"b": 2}}),
        (["--a=[1, 2]", "--flag"], {"a": [1, 2], "flag": None}),
    ],
)
def test_flags_as_a_mapping(flags: list[str], expected: dict[str, Any]) -> None:
    assert _trainer.flag_values(flags) == expected


def test_a_stray_word_is_named() -> None:
    with pytest.raises(UsageError, match="tiny"):
        _trainer.flag_values(["tiny"])


def test_flags_win_over_files_and_files_over_names(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.yaml").write_text(f"trainer: {{max_epochs: {number}}}\ndata: {{batch_size: 3}}\n")
    files = ("--config", str(tmp_path / "1.yaml"), "--config", str(tmp_path / "2.yaml"))
    found = plan("--method", "s4eca", *files, "--data.batch_size=5")
    assert found.preview["trainer"]["max_epochs"] == 2
    assert found.preview["data"]["batch_size"] == 5
    assert found.preview["data"]["dataset"] == "tiny"


def test_the_seed_reaches_the_data_and_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRSIS_RUNS", "elsewhere")
    found = plan("--method", "s4eca", "--variant", "tiny", "--seed", "7")
    assert found.config["seed_everything"] == 7
    assert found.config["data"]["seed"] == 7
    assert found.folder == Path("elsewhere/tiny/s4eca@tiny/seed7")


@pytest.mark.parametrize(
    ("arguments", "expected"), [((8, None, 2, 3), 3), ((8, 32, 1, 1), 4), ((8, 32, 4, 1), 1), ((4, 32, 2, 4), 4)]
)
def test_accumulation_to_the_global_batch(arguments: tuple[Any, ...], expected: int) -> None:
    from rrsis_bench.engine.trainer import accumulation

    assert accumulation(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((5, 32, 1, 1), "data.batch_size=4"), ((8, 32, 8, 1), "data.batch_size=4"), ((8, 32, 1, 2), "contradict"),
     ((1, 2, 4, 1), "fewer devices")],
)  # fmt: skip
def test_a_global_batch_that_does_not_divide(arguments: tuple[Any, ...], words: str) -> None:
    from rrsis_bench.engine.trainer import accumulation

    with pytest.raises(UsageError, match=words):
        accumulation(*arguments)
