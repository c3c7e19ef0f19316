"""`make bench-gpu` measures: a tiny variant on the CPU, and what it would do on a GPU."""

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
from rrsis_bench.cli import main
from rrsis_bench.cost import measured
from rrsis_bench.cost.memory import StepCost
from rrsis_bench.engine import bench
from rrsis_bench.engine.optim import OptimizerConfig
from rrsis_bench.errors import UsageError
from rrsis_bench.run.seal import text_of

pytestmark = pytest.mark.slow


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
    path.write_text(text_of({**content, "cells": [failed, *content["cells"][1:]]}), encoding="utf-8")
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


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="not measured: "):
        gpu.main()
