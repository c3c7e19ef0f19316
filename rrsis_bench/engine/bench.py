"""Measures training steps and scoring passes of a network on a batch that lies on the device: time and peak memory.

A step is the one of a run: the task's own forward pass in its memory format, the losses, the backward pass, and the
optimiser. The batch is noise and the weights are random. Nothing here waits for the device within the measured steps.
"""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch

from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.engine.optim import OptimizerConfig, build_optimizer
from rrsis_bench.engine.task import ReferringSegmentationTask


def build(model: Mapping[str, Any], device: torch.device, compiled: bool) -> ReferringSegmentationTask:
    """Build the network of a configuration's `model` block with random weights, and move it to a device.

    Args:
        model: the block of a resolved configuration.
        device: where the network goes.
        compiled: compile it with `torch.compile`, at its first forward pass.
    """
    torch.manual_seed(0)
    task = ReferringSegmentationTask(
        model["method"],
        model["variant"],
        model.get("options"),
        pretrained=False,
        loss_weights=model.get("loss_weights"),
        compile=compiled,
        channels_last=bool(model.get("channels_last")),
        activation_checkpointing=bool(model.get("activation_checkpointing")),
    )
    return task.to(device)


def scoring_step(
    task: ReferringSegmentationTask, batch_size: int, device: torch.device, half: bool
) -> Callable[[], None]:
    """Make a function that computes the logits of a batch.

    Args:
        task: the network on `device`.
        batch_size: samples in the batch.
        device: where the batch goes.
        half: run under bf16 autocast.
    """
    batch = sample_batch(task.method, batch_size, device).blind()
    task.method.eval()

    def step() -> None:
        with torch.inference_mode(), _autocast(device, half):
            task(batch).logits.float()

    return step


def training_step(
    task: ReferringSegmentationTask, optimizer: OptimizerConfig, batch_size: int, device: torch.device, half: bool
) -> Callable[[], None]:
    """Make a function that trains on a batch: forward pass, losses, backward pass, optimiser.

    Args:
        task: the network on `device`; it has trainable parameters.
        optimizer: the optimiser, whose state is made anew.
        batch_size: samples in the batch.
        device: where the batch goes.
        half: run the forward pass and the losses under bf16 autocast.
    """
    batch = sample_batch(task.method, batch_size, device)
    groups = task.method.param_groups(optimizer.lr, optimizer.weight_decay)
    stepping = build_optimizer([group for group in groups if len(group["params"]) > 0], optimizer, fused=True)
    task.method.train()

    def step() -> None:
        with _autocast(device, half):
            losses = task.method.loss(task(batch), batch)
            total = torch.stack([task.loss_weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        torch.autograd.backward(total)
        stepping.step()
        stepping.zero_grad()

    return step


def _autocast(device: torch.device, half: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16) if half else nullcontext()


def timed(step: Callable[[], None], device: torch.device, warmup: int, steps: int) -> dict[str, float]:
    """Run steps, and measure all but the first ones.

    Args:
        step: what to measure.
        device: where it runs.
        warmup: number of steps before the measured ones, at least 1.
        steps: number of measured steps.

    Returns:
        `seconds` (median of a step) and `first_seconds`; on CUDA also the peaks in MiB, of the tensors (`memory_mb`)
        and of the memory that the allocator held (`reserved_mb`).
    """
    start = time.perf_counter()
    step()
    _wait(device)
    first = time.perf_counter() - start
    for _ in range(warmup - 1):
        step()
    if device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(steps):
            step()
            _wait(device)
            marks.append(time.perf_counter())
        return {"seconds": statistics.median(end - begin for begin, end in pairwise(marks)), "first_seconds": first}
    _wait(device)
    torch.cuda.reset_peak_memory_stats(device)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]  # type: ignore[no-untyped-call]
    stream = torch.cuda.current_stream(device)
    events[0].record(stream)
    for event in events[1:]:
        step()
        event.record(stream)
    _wait(device)
    return {
        "seconds": statistics.median(begin.elapsed_time(end) / 1e3 for begin, end in pairwise(events)),
        "first_seconds": first,
        "memory_mb": torch.cuda.max_memory_allocated(device) / 2**20,
        "reserved_mb": torch.cuda.max_memory_reserved(device) / 2**20,
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def attempt(step: Callable[[], Callable[[], None]], device: torch.device, warmup: int, steps: int) -> dict[str, Any]:
    """Measure a cell; an error becomes what the cell states.

    Args:
        step: makes the step. It is called here, because the batch may already be too large for the device.
        device: where it runs.
        warmup: see `timed`.
        steps: see `timed`.

    Returns:
        `state` and `detail`; for a measured cell also what `timed` returns.
    """
    try:
        return {"state": "measured", "detail": "", **timed(step(), device, warmup, steps)}
    except Exception as error:  # whatever a network, a compiler or a driver raises
        reason = without_paths(f"{type(error).__name__}: {error}")
        return {"state": "out of memory" if ran_out(error) else "failed", "detail": reason}


def without_paths(text: str) -> str:
    """The beginning of a message on one line, without the folders of a machine: files with it are published."""
    return re.sub(r"(?<![\w./:])~?/(?:[^\s/:,'\"]+/)+", "", " ".join(text.split()))[:300]


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that the device's memory ended."""
    while error is not None:
        words = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "STATUS_ALLOC_FAILED" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def free(task: ReferringSegmentationTask, device: torch.device) -> None:
    """Free what a cell left on the device, and forget what was compiled for its batch size."""
    task.method.zero_grad()
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
