"""Activation checkpointing: the same outputs, gradients and running statistics from fewer kept activations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.memory import PeakMemory
from rrsis_bench import config, registry
from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import method_class, overrides
from rrsis_bench.nn.layers.recompute import recompute

pytestmark = pytest.mark.slow

INNER = ("lavt", "s4eca")
NAMES = [name for name in sorted(registry.method_targets()) if overrides(method_class(name), "checkpoint_activations")]
METHODS = [pytest.param(name, marks=() if name in INNER else pytest.mark.slow) for name in NAMES]
IN_FLOAT32 = ("groundedsam", "rsrefseg2")
"""Library networks that do not run in float64; the contract compares them in float32."""


def built(name: str) -> Method:
    torch.manual_seed(0)
    method: Method = registry.load_class(name).from_options(config.variant_options(name, "tiny"))
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return method.double()


def trained(method: Method) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of a training step, and the buffers after it, in float64 with dropout."""
    batch = sample_batch(method, 2, "cpu")
    batch = batch.mapped(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    torch.manual_seed(1)
    torch.stack(list(method.train().loss(method(batch), batch).values())).sum().backward()
    gradients = {name: one.grad for name, one in method.named_parameters() if one.grad is not None}
    return gradients, dict(method.named_buffers())


def compare_with_recomputing(method: Method) -> list[str]:
    """Compare a method's gradients and statistics with those of a copy that recomputes; the gradients' names."""
    again = copy.deepcopy(method)
    again.checkpoint_activations()
    plain = trained(method)
    for wanted, found in zip(plain, trained(again), strict=True):
        assert wanted.keys() == found.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(
                found[key], value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}"
            )
    return list(plain[0])


@pytest.mark.parametrize("name", METHODS)
def test_gradients_and_statistics_are_the_same(name: str) -> None:
    if name in IN_FLOAT32:
        pytest.skip("does not run in float64")
    compare_with_recomputing(built(name))


def kept_bytes(method: Method) -> int:
    """Bytes that a training step's forward pass keeps alive for the backward pass."""
    batch = sample_batch(method, 2, "cpu")
    with PeakMemory() as memory:
        losses = method.train().loss(method(batch), batch)
        assert losses
        return memory.alive


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_keeps_less(name: str) -> None:
    method: Method = registry.load_class(name).from_options(config.variant_options(name, "tiny"))
    plain = kept_bytes(method)
    method.checkpoint_activations()
    saved = kept_bytes(method)
    assert saved < 0.9 * plain, (plain, saved)


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, values: Tensor) -> Any:
        return self.norm(values)


def test_batch_norm_counts_a_batch_once() -> None:
    block = Counted()
    recompute([block])
    block(torch.randn(4, 3, requires_grad=True)).sum().backward()
    assert int(block.norm.num_batches_tracked) == 1
    frozen = Counted().eval()
    recompute([frozen])
    assert "forward" in vars(frozen)


@pytest.mark.slow
def test_the_published_encoders_of_pslgsam_keep_their_gradients() -> None:
    small = {"encoders": "resnet50+roberta", "dual_weights": "", "text_width": 32, "text_layers": 2, "text_heads": 2}
    options = config.variant_options("pslgsam", "tiny") | small | {"text_vocabulary": 64, "text_positions": 32}
    torch.manual_seed(0)
    method = registry.load_class("pslgsam").from_options(options).double()
    assert any(name.startswith("grounder.front.image.layer2") for name in compare_with_recomputing(method))
