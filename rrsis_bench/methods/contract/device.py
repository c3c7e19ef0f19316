"""The check that a method runs on a GPU and never makes the host wait for it. Needs no GPU.

Fake tensors have a device, a shape and a type, but no values. A program that runs on them reads no value of a tensor,
and mixes no devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.torch_version import TorchVersion
from torch.utils._python_dispatch import TorchDispatchMode

from rrsis_bench.data.text import stand_in_tokenizer
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract.subject import Outcome, Subject, random_batch
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.protocols import PROTOCOLS, views
from rrsis_bench.nn.layers.fake import fake, faked, make_fake
from rrsis_bench.types import Batch

OLDEST = "2.14"
"""The oldest torch that this check was tried with. Fake batch norm of torch 2.6 aborts the process without a GPU."""

DEVICE = torch.device("cuda", 0)
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_PIN = torch.ops.aten._pin_memory.default


class HostWaitsError(Exception):
    """The host waits for the device."""


def never_waits(subject: Subject) -> Outcome:
    """Forward pass, losses and scoring run on a GPU in float32 and in bf16 autocast, and nothing waits for the GPU.

    Covers the small variant and the published one. A method with `scores_on_host` is only run as in training. The
    backward pass is left out: autograd would need a GPU.
    """
    if subject.waits:
        return True, f"excused by the card: {subject.waits}"
    if not fakes_work():
        return True, f"not checked: it needs torch {OLDEST}, and this is {torch.__version__}"
    builds = {"the small variant": subject.build, **subject.large}
    for variant, build in builds.items():
        for bf16 in (False, True):
            try:
                _run(build, bf16)
            except Exception as error:  # the networks of others may raise anything
                where = f"{variant}, {'bf16 autocast' if bf16 else 'float32'}"
                return False, f"{where}: {_reason(error)}"
    return True, f"no wait and no mixed devices in {' and '.join(builds)}"


def fakes_work() -> bool:
    """Whether this torch is new enough for the check."""
    return bool(TorchVersion(torch.__version__) >= OLDEST)


def _reason(error: Exception) -> str:
    """What the method did, in one line."""
    said = " ".join(str(error).split())
    if "convert all Tensors to FakeTensors" in said:
        return "a tensor that is neither a parameter nor a buffer stays on the CPU; register it as a buffer"
    if isinstance(error, DataDependentOutputException | DynamicOutputShapeException):
        return f"the host waits for a value or for the number of values: {said}"
    return f"{type(error).__name__}: {said[:160]}"


def _run(build: Callable[[], Method], bf16: bool) -> None:
    """Run a network as training and scoring do, on fake tensors of a GPU."""
    with torch.device("meta"):
        method = build()
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    make_fake(method, mode, DEVICE)
    spec = method.input_spec
    batch = _native(random_batch(spec, tokenizer=stand_in_tokenizer(spec))).mapped(
        lambda tensor: fake(tensor, mode, DEVICE)
    )
    with faked(mode), _NoWaiting(), _autocast(bf16):  # type: ignore[no-untyped-call]
        output = method.train()(batch)
        method.loss(output, batch)
        if method.scores_on_host:
            return
        with torch.no_grad():
            logits = method.eval()(batch.blind()).logits
            count(logits, batch, spec.image_size, views(PROTOCOLS))


def _native(batch: Batch) -> Batch:
    """The batch with native truths of two sizes, as an evaluation loader gives it."""
    height, width = batch.images.shape[-2:]
    sizes = [(height + 8, width)] * len(batch)
    sizes[0] = (height, width + 8)
    truths = torch.zeros(len(batch), height + 8, width + 8, dtype=torch.uint8)
    return replace(batch, truths=truths, sizes=tuple(sizes))


class _NoWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises `HostWaitsError` at copies that block the host. Reading a value of a fake tensor raises by itself."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _PIN:
            return args[0]  # page-locked memory needs a GPU
        if func in _COPIES:
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            target = args[0].device if func is torch.ops.aten.copy_.default else kwargs.get("device", source.device)
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            # A number goes to the device with the launch of the kernel.
            if waits and source.dim() and source.device.type != torch.device(target).type:
                raise HostWaitsError(f"a blocking copy of shape {tuple(source.shape)} from {source.device} to {target}")
        return func(*args, **kwargs)


@contextmanager
def _autocast(enabled: bool) -> Iterator[None]:
    """Switch bf16 autocast of CUDA on; `torch.autocast` would refuse without a GPU."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", enabled)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        torch.clear_autocast_cache()
