"""Weights laid out once: the same results, and the layer itself wherever that cannot be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rrsis_bench.engine.packed import PackedLinear, packed_linears, worth_packing

pytestmark = pytest.mark.skipif(not worth_packing(), reason="not used on this processor")


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 80)


def packed_of(layer: nn.Linear) -> PackedLinear:
    found = layer.forward
    assert isinstance(found, PackedLinear)
    return found


@pytest.mark.parametrize("shape", [(48,), (7, 48), (2, 3, 5, 48)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_float32_is_the_layers_result_but_for_rounding(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(48, 80, bias=bias), torch.randn(shape)
    expected = layer(x)
    with packed_linears(nn.Sequential(layer)):
        found = layer(x)
        assert list(packed_of(layer).blocks) == [torch.float32]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_any_strides_will_do(layer: nn.Linear) -> None:
    turned, spread = torch.randn(48, 9).T, torch.randn(9, 96)[:, ::2]
    assert not turned.is_contiguous()
    assert not spread.is_contiguous()
    for x in (turned, spread):
        expected = layer(x)
        with packed_linears(layer):
            torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_autocast_gives_what_the_layer_gives_under_it(layer: nn.Linear, given: torch.dtype) -> None:
    x = torch.randn(9, 48).to(given)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        with packed_linears(layer):
            found = layer(x)
            assert list(packed_of(layer).blocks) == [torch.bfloat16]
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-3)


def test_gradients_and_other_types_are_left_to_the_layer(layer: nn.Linear) -> None:
    with packed_linears(layer):
        x = torch.randn(3, 48, requires_grad=True)
        layer(x).sum().backward()
        assert x.grad is not None
        assert layer.weight.grad is not None
        with torch.no_grad():
            assert layer(torch.randn(0, 48)).shape == (0, 80)
            layer.double()
            assert layer(torch.randn(3, 48, dtype=torch.float64)).dtype == torch.float64
        assert packed_of(layer).blocks == {}


@torch.no_grad()
def test_changed_weights_are_noticed(layer: nn.Linear) -> None:
    x = torch.randn(3, 48)
    with packed_linears(layer):
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        torch.testing.assert_close(layer(x), 2 * before)
        layer.bias.zero_()
        assert not torch.allclose(layer(x), 2 * before)
        layer.load_state_dict({"weight": torch.zeros(80, 48), "bias": torch.ones(80)})
        torch.testing.assert_close(layer(x), torch.ones(3, 80))
        layer.load_state_dict({"weight": torch.zeros(80, 48), "bias": torch.full((80,), 3.0)}, assign=True)
        torch.testing.assert_close(layer(x), torch.full((3, 80), 3.0))


def test_only_plain_layers_and_only_inside(layer: nn.Linear) -> None:
    class Scaled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    network = nn.Sequential(layer, Scaled(80, 4))
    names = list(network.state_dict())
    with packed_linears(network):
        outer = packed_of(layer)
        assert "forward" not in vars(network[1])
        assert list(network.state_dict()) == names
        with packed_linears(network):
            assert layer.forward is outer
        assert layer.forward is outer
    assert "forward" not in vars(layer)


def test_an_error_inside_leaves_nothing_behind(layer: nn.Linear) -> None:
    with pytest.raises(RuntimeError, match="shape"), packed_linears(layer):
        layer(torch.zeros(3, 5))
    assert "forward" not in vars(layer)
