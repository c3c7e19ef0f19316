"""Attention with dropout, head by head, equals the written-out formula with the same masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rrsis_bench.nn.layers import dropped
from rrsis_bench.nn.layers.dropped import MultiheadAttention
from rrsis_bench.nn.layers.forms import as_published

RATE = 0.3


def layer() -> MultiheadAttention:
    torch.manual_seed(0)
    return MultiheadAttention(12, 3, dropout=RATE, batch_first=True).double()


def inputs() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, length, 12, dtype=torch.float64, requires_grad=True) for length in (7, 5, 5)]


def written_out(attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The layer as its formula says, with masks drawn head by head."""
    q, k, v = (
        (x @ weight.T + bias).reshape(2, -1, 3, 4).transpose(1, 2)
        for x, weight, bias in zip(
            (query, key, value), attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True
        )
    )
    weights = (q @ k.transpose(2, 3) / math.sqrt(4)).softmax(-1)
    masks = torch.stack([torch.empty(weights.shape[2:], dtype=torch.bool).bernoulli_(1 - RATE) for _ in range(6)])
    gathered = (weights * masks.reshape(weights.shape) / (1 - RATE)) @ v
    merged: Tensor = attention.out_proj(gathered.transpose(1, 2).reshape(2, -1, 12))
    return merged


def test_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped, "_LARGE", 1)
    attention, given = layer(), inputs()
    wanted_of = [*given, *attention.parameters()]
    torch.manual_seed(2)
    wanted = written_out(attention, *given)
    upstream = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, wanted_of, upstream)
    monkeypatch.setattr(nn.MultiheadAttention, "forward", None)  # the plain form is out of reach
    torch.manual_seed(2)
    found, _ = attention(*given, need_weights=False)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(found, wanted_of, upstream), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_bfloat16_is_as_exact_as_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped, "_LARGE", 1)
    attention, given = layer().float(), [one.detach().float().requires_grad_() for one in inputs()]

    def gradient() -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = attention(*given, need_weights=False)[0]
        return out, torch.autograd.grad(out.float().square().sum(), given[0])[0]

    ours = gradient()
    assert ours[0].dtype == torch.bfloat16
    torch.manual_seed(3)
    exact = written_out(attention, *given)
    whole = (exact, torch.autograd.grad(exact.square().sum(), given[0])[0])
    for one, other in zip(ours, whole, strict=True):
        assert (one.float() - other).abs().max() < 0.03 * other.abs().max()


def test_other_calls_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped._HeadByHead, "apply", None)
    attention, given = layer(), inputs()
    attention(*given, need_weights=False)  # small
    monkeypatch.setattr(dropped, "_LARGE", 1)
    with as_published():
        attention(*given, need_weights=False)
    attention(*given)
    attention(*given, need_weights=False, key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))
    attention.eval()(*given, need_weights=False)
    with pytest.raises(TypeError):
        attention.train()(*given, need_weights=False)


def test_only_masks_are_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> list[torch.dtype]:
        """Types of the kept tensors of a weight for each query and source."""
        found: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: found.append(tensor) or tensor, lambda one: one):
            layer()(*inputs(), need_weights=False)
        return [one.dtype for one in found if one.numel() == 2 * 3 * 7 * 5]

    assert torch.float64 in kept()
    monkeypatch.setattr(dropped, "_LARGE", 1)
    assert kept() == [torch.bool]
