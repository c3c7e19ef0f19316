"""Activation checkpointing: the same outputs, gradients and running statistics from fewer kept activations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, UntypedStorage, nn

from rrsis_bench import config, registry
from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import method_class, overrides
from rrsis_bench.nn.layers.recompute import recompute

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


@pytest.mark.parametrize("name", METHODS)
def test_gradients_and_statistics_are_the_same(name: str) -> None:
    if name in IN_FLOAT32:
        pytest.skip("does not run in float64")
    method = built(name)
    again = copy.deepcopy(method)
    again.checkpoint_activations()
    for wanted, found in zip(trained(method), trained(again), strict=True):
        assert wanted.keys() == found.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(
                found[key], value, rtol=1e-9, atol=1e-12, msg=lambda text, key=key: f"{key}: {text}"
            )


def kept_bytes(method: Method) -> int:
    """Bytes that a training step's forward pass keeps for the backward pass, parameters apart."""
    batch = sample_batch(method, 2, "cpu")
    own = {parameter.untyped_storage().data_ptr() for parameter in method.parameters()}
    kept: dict[int, UntypedStorage] = {}  # holding the storages keeps their addresses from being used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = method.train().loss(method(batch), batch)
    assert losses
    return sum(storage.nbytes() for storage in kept.values())


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
    again = copy.deepcopy(method)
    again.checkpoint_activations()
    wanted, found = trained(method)[0], trained(again)[0]
    assert any(name.startswith("grounder.front.image.layer2") for name in wanted)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12, msg=key)
