"""`make bench-gpu`: its files, what reads them, and its measuring with a tiny variant on the CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import gpu
from rrsis_bench.boards.board import load
from rrsis_bench.boards.leaderboard import pages
from rrsis_bench.cli import main
from rrsis_bench.cost import measured
from rrsis_bench.cost.cards import CARDS
from rrsis_bench.cost.memory import StepCost
from rrsis_bench.engine import bench
from rrsis_bench.engine.optim import OptimizerConfig
from rrsis_bench.errors import UsageError, UserError

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
    path.write_text(measured.text_of(content), encoding="utf-8")
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


class HostReads(TorchDispatchMode):
    """Counts the values that the host reads from a tensor, for which it would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_steps_read_nothing_on_the_host() -> None:
    device, model = torch.device("cpu"), gpu.resolved("lavt", "tiny")["model"]
    task = bench.build(model, device, False)
    steps = (bench.training_step(task, OptimizerConfig(), 2, device, True), bench.scoring_step(task, 2, device, True))
    for step in steps:
        with HostReads() as reads:
            step()
        assert reads.count == 0
    with HostReads() as reads:
        torch.ones(1).item()
    assert reads.count == 1


def test_nothing_waits_for_the_gpu_between_measured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: Any) -> None:
            log.append("mark")

        def elapsed_time(self, other: Any) -> float:
            return 250.0

    def noted(name: str, value: Any = None) -> Any:
        return lambda device=None: (log.append(name), value)[1]

    for name, value in (("synchronize", None), ("reset_peak_memory_stats", None), ("current_stream", "a stream")):
        monkeypatch.setattr(torch.cuda, name, noted(name, value))
    for name, value in (("max_memory_allocated", 3 * 2**20), ("max_memory_reserved", 4 * 2**20)):
        monkeypatch.setattr(torch.cuda, name, noted(name, value))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    found = bench.timed(lambda: log.append("step"), torch.device("cuda"), 2, 3)
    assert log == [
        "step", "synchronize", "step", "synchronize", "reset_peak_memory_stats", "current_stream",
        "mark", *["step", "mark"] * 3, "synchronize", "max_memory_allocated", "max_memory_reserved",
    ]  # fmt: skip
    assert (found["seconds"], found["memory_mb"], found["reserved_mb"]) == (0.25, 3.0, 4.0)


def raising(error: BaseException) -> Any:
    def step() -> Any:
        raise error

    return step


def test_an_error_is_what_the_cell_states() -> None:
    cpu, outer = torch.device("cpu"), RuntimeError("backend compiler failed")
    outer.__cause__ = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")
    for error, state in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (outer, "out of memory"),
        (RuntimeError("CUDA error:\nan illegal memory access"), "failed"),
    ):
        found = bench.attempt(raising(error), cpu, 1, 1)
        assert (found["state"], "\n" in found["detail"]) == (state, False)
        assert bench.attempt(lambda error=error: raising(error), cpu, 1, 1)["state"] == state
    found = bench.attempt(
        raising(ValueError("see /home/me/.cache/x y/kernel.py and https://a.org/b, or '/tmp/a/b.so'")), cpu, 1, 1
    )
    assert found["detail"] == "ValueError: see x y/kernel.py and https://a.org/b, or 'b.so'"


def in_process(what: str, job: Mapping[str, Any], limit: float) -> tuple[str, str]:
    """Stands in for the processes, whose start takes most of the time."""
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as out:
        {"measure": gpu.child, "forecast": gpu.forecast, "identify": gpu.identify}[what](job)
    return out.getvalue(), ""


FORECAST = {
    "peaks": {"train": {"float32 1": 16.4, "float32 2": 23.5, "bf16 1": 15.0, "bf16 2": 19.9},
              "score": {"float32 1": 3.8, "float32 2": 4.5, "bf16 1": 4.8, "bf16 2": 5.1}},
    "gflops": {"train": 0.45, "score": 0.15}, "detail": "",
}  # fmt: skip


def test_every_batch_size_has_a_forecast_from_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(config: Mapping[str, Any], plan: Any) -> StepCost:
        size, mib = plan.batch_size, 2**20 // (1 + plan.half)
        return StepCost(size, 1, 1, mib, mib * (10 + 5 * size), mib * (4 + size), 3e9 * size, 1e9 * size)

    job = {"method": "lavt", "variant": "tiny", "batches": [1, 4, 8], "ways": list(measured.WAYS)}
    monkeypatch.setattr(gpu, "step_of", step_of)
    found = json.loads(in_process("forecast", job, 1)[0])
    half = {"bf16 1": 7.5, "bf16 4": 15.0, "bf16 8": 25.0}
    assert found["peaks"]["train"] == {**half, **{f"float32 {name[5:]}": 2 * peak for name, peak in half.items()}}
    assert found["peaks"]["score"]["float32 4"] == 8.0
    assert found["gflops"] == {"train": 3.0, "score": 1.0}

    def impossible(config: Mapping[str, Any], plan: Any) -> StepCost:
        raise UsageError("values decide")

    monkeypatch.setattr(gpu, "step_of", impossible)
    found = json.loads(in_process("forecast", {**job, "batches": [1]}, 1)[0])
    assert (found["peaks"], found["detail"]) == ({}, "values decide")


def call(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> None:
    given = ["--device", "cpu", "--variant", "tiny", "--steps", "1", "--warmup", "1", "--out", str(out / "efficiency")]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *given, *words])
    gpu.main()


def test_a_tiny_variant_is_measured_on_the_cpu_and_every_reader_accepts_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    asked: list[str] = []

    def run(what: str, job: Mapping[str, Any], limit: float) -> tuple[str, str]:
        asked.append(what)
        return (json.dumps(FORECAST), "") if what == "forecast" else in_process(what, job, limit)

    monkeypatch.setattr(gpu, "run", run)
    words = ("--methods", "lavt", "--ways", "float32", "bf16", "--batches", "1", "2")
    call(monkeypatch, tmp_path, *words)
    printed = capsys.readouterr().out
    assert printed.count("| not measured |") == 8, "a CPU has no peak of a GPU"
    assert "goal: at most 0.60): not measured" in printed
    (path,) = measured.find(tmp_path / "efficiency")
    content = measured.load(path).content
    assert [(one["work"], one["way"], one["batch_size"]) for one in content["cells"]] == [
        (work, way, size) for work in measured.WORKS for way in ("float32", "bf16") for size in (1, 2)
    ]
    assert all(one["state"] == "measured" for one in content["cells"])
    assert [one["forecast_mb"] for one in content["cells"]] == [16.4, 23.5, 15.0, 19.9, 3.8, 4.5, 4.8, 5.1]
    assert (content["train_gflops"], content["score_gflops"]) == (0.45, 0.15)
    assert main(["results", "check", str(tmp_path)]) == 0
    assert "1 measurements checked, 0 bad." in capsys.readouterr().out
    assert main(["leaderboard", "--results", str(tmp_path), "--format", "md", "csv"]) == 0
    assert main(["leaderboard", "--results", str(tmp_path), "--format", "md", "csv", "--check"]) == 0
    # A second call measures nothing; one after a failure measures what failed.
    asked.clear()
    call(monkeypatch, tmp_path, *words)
    assert asked == ["identify"]
    failed = {**content["cells"][0], **dict.fromkeys(measured.NUMBERS), "state": "failed", "detail": "a driver's error"}
    path.write_text(measured.text_of({**content, "cells": [failed, *content["cells"][1:]]}), encoding="utf-8")
    asked.clear()
    call(monkeypatch, tmp_path, *words)
    again = measured.load(path).content
    assert asked == ["identify", "forecast", "measure"]
    assert again["cells"][0]["state"] == "measured"
    assert again["cells"][1:] == content["cells"][1:]


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(what: str, job: Mapping[str, Any], limit: float) -> tuple[str, str]:
        if what == "forecast":
            return "", "it ran past 1 s"
        if (what, job.get("work"), job.get("way")) == ("measure", "score", "float32"):
            return "", "its process ended with -9: Killed"
        return in_process(what, job, limit)

    def training_step(task: Any, optimizer: Any, size: int, device: Any, half: bool) -> Any:
        if half and size == 1:
            raise ValueError("no kernel")
        return raising(torch.OutOfMemoryError("CUDA out of memory")) if size > 1 else lambda: None

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(bench, "build", lambda model, device, compiled: None)
    monkeypatch.setattr(bench, "training_step", training_step)
    monkeypatch.setattr(bench, "scoring_step", lambda *given: lambda: None)
    call(monkeypatch, tmp_path, "--methods", "lavt", "--ways", "float32", "bf16", "--batches", "1", "2", "4")
    (path,) = measured.find(tmp_path / "efficiency")
    states = {
        (one["work"], one["way"], one["batch_size"]): one["state"] for one in measured.load(path).content["cells"]
    }
    expected = {("train", "float32"): ("measured", "out of memory", "not run"),
                ("train", "bf16"): ("failed", "out of memory", "not run"),
                ("score", "float32"): ("failed", "failed", "failed"),
                ("score", "bf16"): ("measured", "measured", "measured")}  # fmt: skip
    assert states == {
        (*part, size): state for part, known in expected.items() for size, state in zip((1, 2, 4), known, strict=True)
    }
    printed = capsys.readouterr().out
    for words in ("no forecast: it ran past 1 s", "failed: ValueError: no kernel", "ended with -9: Killed",
                  "not run: the memory ended at batch 2"):  # fmt: skip
        assert words in printed


def test_the_goal_is_shown_where_both_networks_were_measured(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, [cell("train", "bf16", 8, 0.1, memory_mb=4000.0)], method="s4eca")
    time, memory = gpu.goals(tmp_path, "NVIDIA H200")
    assert time.endswith("(goal: at most 0.60): 0.50 (bf16, batch 8)")
    assert memory.endswith("(goal: at most 0.50): 0.25 (bf16, batch 8)")


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="not measured: "):
        gpu.main()
