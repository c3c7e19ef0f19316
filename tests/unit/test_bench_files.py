"""The files of `make bench-gpu`, and what reads them: the efficiency board, `results check` and `forecast`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from rrsis_bench.boards.collect import load
from rrsis_bench.boards.leaderboard import pages
from rrsis_bench.cli import main
from rrsis_bench.cost import measured
from rrsis_bench.cost.cards import CARDS
from rrsis_bench.errors import UserError
from rrsis_bench.run.seal import text_of

pytestmark = pytest.mark.slow

GPU = {"device": "NVIDIA H200", "memory_gib": 139.8, "cuda": "13.0", "card": "h200"}
HEAD = {
    "schema": 1, "method": "lavt", "variant": "base", **GPU, "torch": "2.14.1", "package": "0.1.0",
    "settings_sha256": "a" * 64, "train_gflops": 1000.0, "score_gflops": 400.0,
}  # fmt: skip


def cell(work: str, way: str, size: int, seconds: float | None, **other: Any) -> dict[str, Any]:
    done = seconds is not None
    return {
        "work": work, "way": way, "batch_size": size, "state": "measured" if done else "out of memory",
        "detail": "" if done else "OutOfMemoryError", "steps": 20 if done else None, "seconds": seconds,
        "samples_per_second": size / seconds if done else None, "memory_mb": 2000.0 * size if done else None,
        "reserved_mb": 2500.0 * size if done else None, "forecast_mb": 2100.0 * size, "first_seconds": None, **other,
    }  # fmt: skip


CELLS = [cell("train", "bf16", 1, 0.1), cell("train", "bf16", 8, 0.2), cell("train", "bf16", 16, None),
         cell("score", "bf16", 8, 0.05)]  # fmt: skip


def put(folder: Path, cells: list[dict[str, Any]] = CELLS, **head: Any) -> Path:
    content = {**HEAD, **head, "cells": cells}
    path = measured.place(folder, content["device"], content["method"], content["variant"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(content), encoding="utf-8")
    return path


def test_the_efficiency_board_shows_what_was_measured_beside_the_forecast(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    before = {name: text for name, text in shown(tmp_path).items() if name.startswith("efficiency")}
    put(tmp_path / "efficiency")
    put(tmp_path / "efficiency", [cell("train", "bf16", 1, 9.0, memory_mb=None, reserved_mb=None)],
        device="cpu", memory_gib=None, cuda=None, card=None)  # fmt: skip
    after = shown(tmp_path)
    for name, text in before.items():
        assert text != after[name], name
        assert "LAVT (base)" in after[name] or name.endswith("json"), name
    (line,) = [line for line in after["efficiency.md"].splitlines() if ", bf16 | 8 |" in line]
    assert line == "| LAVT (base), bf16 | 8 | 40.00 | 16,000 | 16,800 | 160.00 | 16,000 | 16,800 |  |"
    assert "train: out of memory" in after["efficiency.md"]
    assert "within 15 % of the measured one in 3 of 3 cells" in after["efficiency.md"]
    (board,) = [board for board in load(tmp_path)[0] if board.name == "efficiency"]
    assert [table.caption for table in board.beside] == ["NVIDIA H200, torch 2.14.1"], "a CPU has no row"
    heads = [line.count(",") for line in after["efficiency.csv"].splitlines() if '"' not in line]
    assert len(set(heads)) == 1


def shown(results: Path) -> Mapping[str, str]:
    return pages(load(results)[0], ("md", "csv", "json", "tex", "html"))


WRONG = [
    ({"schema": 2}, {}, "no file of version 1"),
    ({"more": 1}, {}, "no file of version 1"),
    ({"torch": ""}, {}, "is no text"),
    ({"card": "h100"}, {}, "its card"),
    ({"memory_gib": -1.0}, {}, "memory_gib"),
    ({"train_gflops": 0}, {}, "GFLOPs"),
    ({}, {"work": "think"}, "unknown or is there twice"),
    ({}, {"way": "fp8"}, "unknown or is there twice"),
    ({}, {"batch_size": 0}, "unknown or is there twice"),
    ({}, {"batch_size": 8, "samples_per_second": 80.0}, "unknown or is there twice"),
    ({}, {"state": "guessed"}, "unknown state"),
    ({}, {"seconds": -0.1}, "no positive number"),
    ({}, {"samples_per_second": 99.0}, "not its batch size over its seconds"),
    ({}, {"memory_mb": None}, "has a peak"),
    ({}, {"state": "failed"}, "has a rate"),
    ({"memory_gib": None, "card": None}, {}, "has a peak"),
]


@pytest.mark.parametrize(("head", "first", "said"), WRONG)
def test_a_file_that_cannot_have_been_measured_is_named(
    head: dict[str, Any], first: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    path = put(tmp_path / "efficiency", [{**CELLS[0], **first}, *CELLS[1:]], **head)
    with pytest.raises(UserError, match=said):
        measured.load(path)
    assert main(["results", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("rrsis-bench: bad measurement: ")
    assert printed.out.endswith("1 measurements checked, 1 bad.\n")
    assert any(said in warning for warning in load(tmp_path)[1])


def test_a_hand_edit_and_a_file_in_another_place_are_named(tmp_path: Path) -> None:
    path = put(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace('"seconds": 0.2', '"seconds": 0.1'), encoding="utf-8")
    with pytest.raises(UserError, match="does not match its checksum"):
        measured.load(path)
    path = put(tmp_path)
    with pytest.raises(UserError, match=r"it belongs to nvidia-h200/lavt@base\.json"):
        measured.load(path.rename(path.with_name("lavt@tiny.json")))
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        measured.load(path)


def test_devices_are_the_cards_of_the_table() -> None:
    names = {
        "h200": ("NVIDIA H200", 139.8), "h100": ("NVIDIA H100 80GB HBM3", 79.1), "l40s": ("NVIDIA L40S", 44.4),
        "a100-80": ("NVIDIA A100-SXM4-80GB", 79.2), "a100": ("NVIDIA A100-SXM4-40GB", 39.4),
        "4090": ("NVIDIA GeForce RTX 4090", 23.6), "3090": ("NVIDIA GeForce RTX 3090", 23.7), "t4": ("Tesla T4", 14.6),
        "4060": ("NVIDIA GeForce RTX 4060", 7.6), "v100": ("Tesla V100-SXM2-32GB", 31.7),
        "a6000": ("NVIDIA RTX A6000", 47.4),
    }  # fmt: skip
    assert set(names) == set(CARDS)
    assert {name: measured.card_of_device(*known) for name, known in names.items()} == {name: name for name in names}
    others = (("NVIDIA GeForce RTX 4060 Ti", 7.6), ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19.5), ("cpu", 139.5))
    assert not any(measured.card_of_device(*one) for one in others)


def test_a_forecast_takes_its_hours_from_measured_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path)
    put(tmp_path, [cell("train", "bf16", 1, 0.01)], method="rmsin", train_gflops=2000.0)
    files, card = measured.read(tmp_path)[0], CARDS["h200"]
    peak = 989e12
    assert measured.utilisation(card, True, "lavt@base", 8, files) == pytest.approx((40 * 1e12 / peak,) * 2)
    both = (40 * 1e12 / peak, 100 * 2e12 / peak)
    assert measured.utilisation(card, True, "lavt@base", 16, files) == pytest.approx(both), (
        "its own fastest, and others"
    )
    assert measured.utilisation(card, False, "lavt@base", 8, files) is None
    assert measured.utilisation(CARDS["h100"], True, "lavt@base", 8, files) is None
    monkeypatch.setattr(measured, "folder_of", lambda results=None: tmp_path)
    words = ["forecast", "--method", "prior-text", "--dataset", "rrsisd", "--gpu", "h200"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured_utilisation"]["h200"] == pytest.approx(both)
    assert main(words) == 0
    assert "On h200, steps were measured" in " ".join(capsys.readouterr().out.split())


def test_the_goal_is_shown_where_both_networks_were_measured(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, [cell("train", "bf16", 8, 0.1, memory_mb=4000.0)], method="s4eca")
    time, memory = gpu.goals(tmp_path, "NVIDIA H200")
    assert time.endswith("(goal: at most 0.60): 0.50 (bf16, batch 8)")
    assert memory.endswith("(goal: at most 0.50): 0.25 (bf16, batch 8)")
