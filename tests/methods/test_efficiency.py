"""The family's networks run fused, without loops over samples or windows, and layouts change no result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from helpers.kernels import kernels
from rrsis_bench import registry
from rrsis_bench.config import variant_options
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine import task as engine
from rrsis_bench.engine.packed import PackedLinear, worth_packing
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract import random_batch
from rrsis_bench.types import Batch

FAMILY = ("lavt", "lgce", "rmsin", "fianet")
NEIGHBOURS = {"rs2sam2": 5, "dicor": 3, "c3vg": 0}
"""Further methods, and their softmaxes that are no attention.

The library's Hiera computes one in each of its blocks and drops it; DiCoR's guide weighs words and candidates.
"""


def tiny(name: str) -> tuple[Method, Batch]:
    torch.manual_seed(0)
    method = registry.load_class(name).from_options(variant_options(name, "tiny"))
    return method.eval(), random_batch(method.input_spec)


@pytest.mark.parametrize("name", [*FAMILY, *NEIGHBOURS])
def test_attention_is_fused(name: str) -> None:
    names = kernels(*tiny(name))
    fused = sum(count for call, count in names.items() if call.startswith("_scaled_dot_product"))
    assert fused > 10
    assert names["_softmax"] == NEIGHBOURS.get(name, 0)
    assert names["_native_multi_head_attention"] == 0  # PyTorch's own path in evaluation, which is not fused


@pytest.mark.parametrize("name", FAMILY)
def test_more_samples_need_no_more_kernels(name: str) -> None:
    """A Python loop over samples or windows would show as calls that grow with them."""
    method, batch = tiny(name)
    more = random_batch(method.input_spec, batch.texts * 2)
    assert sum(kernels(method, more).values()) == sum(kernels(method, batch).values())


@pytest.mark.parametrize("name", FAMILY)
@torch.no_grad()
def test_memory_layout_changes_no_result(name: str) -> None:
    method, batch = tiny(name)
    before = method(batch).logits
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(method(batch).logits, before, rtol=0, atol=1e-3)


class CountPacked(Callback):
    """How many layers multiply from blocks, while testing and after."""

    def __init__(self) -> None:
        self.during = self.after = -1

    def count(self, task: engine.ReferringSegmentationTask) -> int:
        found = [module.forward for module in task.modules()]
        return sum(isinstance(forward, PackedLinear) and bool(forward.blocks) for forward in found)

    def on_test_batch_end(self, trainer: Trainer, task: Any, *arguments: Any) -> None:
        self.during = self.count(task)

    def teardown(self, trainer: Trainer, task: Any, stage: str) -> None:
        self.after = self.count(task)


@pytest.mark.skipif(not worth_packing(), reason="not used on this processor")
def test_a_test_on_a_processor_packs_the_linear_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    counts, packed = [], CountPacked()
    for worth in (False, True):
        torch.manual_seed(0)
        monkeypatch.setattr(engine, "worth_packing", lambda worth=worth: worth)
        task = engine.ReferringSegmentationTask("lavt", "tiny", variant_options("lavt", "tiny"), pretrained=False)
        data = ReferringDataModule("tiny", source="synthetic", eval_batch_size=4, num_workers=0)
        data.input_spec = task.method.input_spec
        trainer = Trainer(
            accelerator="cpu", enable_checkpointing=False, limit_test_batches=1, callbacks=[packed], **quiet
        )
        trainer.test(task, data, verbose=False)
        assert task.scored is not None
        counts.append(task.scored.counts)
        assert (packed.during > 10) is worth
        assert packed.after == 0
    assert np.abs(counts[1] - counts[0]).max() <= 1  # a pixel whose logit is at the threshold but for rounding
