"""What a method costs: parameters, GFLOPs, latency, throughput and memory. The text encoder is always included.

Multiply-add counts as 2 floating-point operations (torch's flop counter); papers that use fvcore count it as 1.

The abstracts of DETRIS and S4ECA report the trainable share of the encoders: trainable parameters inside the encoders
over the encoders' own parameters. The denominator leaves the adapters out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrsis_bench.cost.unchanged import unchanged
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import stand_in_tokenizer
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.forms import as_published
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch

Precision = Literal["32", "bf16", "16"]
ADDED = ("adapter", "lora", "prompt", "proxies")
"""Words in the name or class of a module that a method added to a pretrained encoder."""
TEXT = "the white airplane on the left of the largest storage tank"


def efficiency(
    method: Method,
    device: torch.device | str = "cpu",
    *,
    flops: bool = True,
    latency: bool = False,
    batch_size: int = 8,
    precision: Precision = "32",
    warmup: int = 10,
    repeats: int = 50,
) -> dict[str, Any]:
    """The `efficiency` block of a result; on the meta device parameters and GFLOPs only.

    Args:
        method: a network on `device`; measuring leaves it as it was.
        device: where the network is.
        flops: count the operations of one forward pass of one sample.
        latency: measure time and memory too.
        batch_size: batch size for throughput and training memory.
        precision: `32`, or autocast to `bf16` or `16`.
        warmup: number of passes before the measured ones.
        repeats: number of measured passes.

    Returns:
        the numbers that `parameters` returns. With `flops` also `gflops`. With `latency` also `latency_ms` (median at
        batch size 1), `latency_p95_ms`, `throughput` (samples per second), `memory_mb` and `training_memory_mb` (MiB,
        None without CUDA), and the settings of the measurement.

    Raises:
        UsageError: a batch size or a number of measured passes below 1, or of warm-up passes below 0.
        UserError: the device has too little memory for the batch.
    """
    device = torch.device(device)
    report: dict[str, Any] = parameters(method)
    if not flops and not latency:
        return report
    try:
        if flops:
            report["gflops"] = gflops(method, device)
        if latency and device.type != "meta":
            report |= _speed(method, device, batch_size, precision, warmup, repeats)
    except torch.OutOfMemoryError as error:
        raise UserError(f"{device} has too little memory for batch {batch_size}; lower --batch-size.") from error
    return report


def parameters(method: Method) -> dict[str, Any]:
    """The numbers of parameters: in total, trainable, of the encoders and of each part."""
    rows = encoder_rows(method)
    own = sum(row["parameters"] for row in rows)
    trainable = sum(row["trainable_parameters"] for row in rows)
    return {
        "parameters": count(method),
        "trainable_parameters": count(method, True),
        "encoder_parameters": own,
        "encoder_trainable_parameters": trainable,
        "encoder_trainable_share": trainable / own if own else None,
        "encoders": rows,
        "parts": [
            {"part": name, "parameters": count(child), "trainable_parameters": count(child, True)}
            for name, child in method.named_children()
        ],
    }


def count(module: nn.Module, only_trainable: bool = False) -> int:
    """Number of a module's parameters; a shared parameter counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not only_trainable)


def encoder_rows(method: Method) -> list[dict[str, Any]]:
    """One row per encoder.

    Returns:
        `encoder` (name), `network` (class of its trunk), `parameters` (without the added ones), `trainable_parameters`
        (added or fine-tuned), `added_parameters`.
    """
    rows = []
    seen: set[int] = set()
    for name, encoder in method.encoders().items():
        added = {id(p) for module in _added(encoder) for p in module.parameters() if p.requires_grad}
        own = [p for p in encoder.parameters() if id(p) not in seen]
        seen |= {id(p) for p in own}
        rows.append(
            {
                "encoder": name,
                "network": _network(encoder),
                "parameters": sum(p.numel() for p in own if id(p) not in added),
                "trainable_parameters": sum(p.numel() for p in own if p.requires_grad),
                "added_parameters": sum(p.numel() for p in own if id(p) in added),
            }
        )
    return rows


def _added(encoder: nn.Module) -> Iterator[nn.Module]:
    """The modules inside an encoder that the method added to it."""
    for path, module in encoder.named_modules():
        words = f"{path}.{type(module).__name__}".lower() if path else ""
        if any(word in words for word in ADDED):
            yield module


def _network(encoder: nn.Module) -> str:
    """Class name of the largest frozen or pretrained part, such as `VisionTransformer`."""
    added = set(_added(encoder))
    module = encoder
    while True:
        children = [child for child in module.children() if child not in added]
        largest = max(children, key=count, default=None)
        # The trunk of a wrapper has nearly all its parameters; a child with fewer is one of the network's own parts.
        rest = count(module) - sum(count(child) for child in module.children() if child in added)
        if largest is None or isinstance(largest, nn.ModuleList | nn.Sequential) or count(largest) < 0.98 * rest:
            return type(module).__name__
        module = largest


def sample_batch(method: Method, size: int, device: torch.device | str) -> Batch:
    """A batch of noise images and one expression, at the method's input size; its samples have no id."""
    spec = method.input_spec
    rng = np.random.default_rng(0)
    tokens = stand_in_tokenizer(spec)(TEXT)
    image = rng.standard_normal((3, *spec.image_size), dtype=np.float32)
    mask = np.zeros(spec.image_size, dtype=np.uint8)
    mask[: spec.image_size[0] // 4, : spec.image_size[1] // 4] = 1
    return collate([Item(k, "", str(k), image, mask, None, tokens, TEXT, "") for k in range(size)]).to(device)


def gflops(method: Method, device: torch.device | str) -> float:
    """GFLOPs of one forward pass of one sample; a multiply-add counts as 2. Works on the meta device too.

    The count is that of the published form, in which maps are enlarged before they are convolved.
    """
    batch = sample_batch(method, 1, device).blind()
    # The plain attention (MATH) consists of operations that the counter counts alike on every device.
    counter = FlopCounterMode(display=False)
    with unchanged(method), torch.no_grad(), as_published(), sdpa_kernel(SDPBackend.MATH), counter:
        # The counter adds hooks to tensors that may have a gradient, and fails on views made without one.
        method.eval().requires_grad_(False)
        method(batch)
    return float(counter.get_total_flops()) / 1e9


def _speed(
    method: Method, device: torch.device, batch_size: int, precision: Precision, warmup: int, repeats: int
) -> dict[str, Any]:
    if min(batch_size, repeats) < 1 or warmup < 0:
        raise UsageError("--batch-size and --repeats must be at least 1, --warmup at least 0.")
    cuda = device.type == "cuda"
    single, several = sample_batch(method, 1, device).blind(), sample_batch(method, batch_size, device)
    many = several.blind()
    with unchanged(method), torch.inference_mode(), _autocast(device, precision):
        method.eval()
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        times = _times(lambda: method(single), device, warmup, repeats)
        memory = torch.cuda.max_memory_allocated(device) / 2**20 if cuda else None
        batches = _times(lambda: method(many), device, warmup, repeats)
    return {
        "latency_ms": 1e3 * statistics.median(times),
        "latency_p95_ms": 1e3 * float(np.percentile(times, 95)),
        "throughput": batch_size / statistics.median(batches),
        "throughput_batch_size": batch_size,
        "memory_mb": memory,
        "training_memory_mb": _training_memory(method, several, device, precision) if cuda else None,
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "warmup": warmup,
        "repeats": repeats,
        "torch_threads": torch.get_num_threads(),
    }


def _times(step: Callable[[], Any], device: torch.device, warmup: int, repeats: int) -> list[float]:
    """Seconds of each measured pass; the device's queue is empty before and after a pass."""
    seconds = []
    for k in range(warmup + repeats):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        if k >= warmup:
            seconds.append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _training_memory(method: Method, batch: Batch, device: torch.device, precision: Precision) -> float:
    """Peak MiB of a forward and backward pass, without the optimiser's own state."""
    with unchanged(method):
        method.train()
        torch.cuda.reset_peak_memory_stats(device)
        with _autocast(device, precision):
            losses = method.loss(method(batch), batch)
        if trainable(method.parameters()):
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
        return torch.cuda.max_memory_allocated(device) / 2**20


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    if precision == "32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)
