"""A convolution of an enlarged map, computed at the small size, equals enlarging first."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers import upconv
from rrsis_bench.nn.layers.forms import as_published
from rrsis_bench.nn.layers.upconv import conv_of_enlarged


def naive(conv: nn.Conv2d, coarse: Tensor, size: tuple[int, int], align_corners: bool, beside: Tensor | None) -> Tensor:
    """Enlarge, join, convolve: the form of the papers' code."""
    large = F.interpolate(coarse, size, mode="bilinear", align_corners=align_corners)
    joined: Tensor = conv(large if beside is None else torch.cat([large, beside], 1))
    return joined


SIZES = [
    ((7, 6), (14, 12)),
    ((7, 6), (13, 12)),
    ((5, 5), (9, 11)),
    ((1, 1), (2, 3)),
    ((4, 3), (16, 7)),
    ((3, 5), (3, 20)),
]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_values_and_gradients(
    small: tuple[int, int], large: tuple[int, int], joined: bool, align_corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(9 if joined else 5, 4, 3, padding=1, bias=False).double()
    coarse = torch.randn(2, 5, *small, dtype=torch.float64, requires_grad=True)
    beside = torch.randn(2, 4, *large, dtype=torch.float64, requires_grad=True) if joined else None
    inputs = [value for value in (coarse, beside, conv.weight) if value is not None]
    wanted = naive(conv, coarse, large, align_corners, beside)
    upstream = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, inputs, upstream)
    # The convolution's own call is out of reach, so that the small form is what is compared.
    monkeypatch.setattr(conv, "forward", None)
    found = conv_of_enlarged(conv, coarse, large, align_corners, beside)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(found, inputs, upstream), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("small", [(6, 6), (5, 5), (8, 8)])
def test_a_map_that_is_hardly_enlarged_is_enlarged_first(small: tuple[int, int]) -> None:
    conv = nn.Conv2d(5, 4, 3, padding=1, bias=False)
    coarse = torch.randn(1, 3, *small)
    beside = torch.randn(1, 2, 6, 6) if small != (8, 8) else torch.randn(1, 2, 8, 8)
    size = (beside.shape[-2], beside.shape[-1])
    assert torch.equal(conv_of_enlarged(conv, coarse, size, True, beside), naive(conv, coarse, size, True, beside))


def test_the_published_form_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(5, 4, 3, padding=1, bias=False)
    coarse = torch.randn(1, 5, 4, 4)
    with monkeypatch.context() as patch, as_published():
        patch.setattr(upconv, "_spread", None)
        found = conv_of_enlarged(conv, coarse, (8, 8), False)
    assert torch.equal(found, naive(conv, coarse, (8, 8), False, None))
    assert not torch.equal(conv_of_enlarged(conv, coarse, (8, 8), False), found)  # rounding tells the forms apart


def test_bfloat16_is_about_as_exact_as_enlarging_first() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(96, 32, 3, padding=1, bias=False)
    coarse, beside = torch.randn(2, 64, 10, 10), torch.randn(2, 32, 20, 20)
    exact = naive(conv, coarse, (20, 20), True, beside)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        found = conv_of_enlarged(conv, coarse, (20, 20), True, beside)
        plain = naive(conv, coarse, (20, 20), True, beside)
    assert found.dtype == torch.bfloat16
    error, usual = ((value.float() - exact).square().mean().sqrt().item() for value in (found, plain))
    assert error < 1.5 * usual


def test_channels_last_maps_give_the_same() -> None:
    conv = nn.Conv2d(7, 4, 3, padding=1, bias=False).double()
    coarse, beside = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randn(2, 2, 8, 12, dtype=torch.float64)
    wanted = naive(conv, coarse, (8, 12), False, beside)
    conv = conv.to(memory_format=torch.channels_last)
    last = [value.contiguous(memory_format=torch.channels_last) for value in (coarse, beside)]
    torch.testing.assert_close(conv_of_enlarged(conv, last[0], (8, 12), False, last[1]), wanted, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_compiler_sees_one_graph() -> None:
    conv = nn.Conv2d(7, 4, 3, padding=1, bias=False).double()
    coarse, beside = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randn(2, 2, 8, 12, dtype=torch.float64)
    compiled = torch.compile(conv_of_enlarged, backend="aot_eager", fullgraph=True)
    wanted = naive(conv, coarse, (8, 12), True, beside)
    torch.testing.assert_close(compiled(conv, coarse, (8, 12), True, beside), wanted, rtol=0, atol=1e-12)
