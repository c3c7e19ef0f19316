"""DETRIS's parts against the outputs of the official network, float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers.golden import FIXTURES, load_golden, official_state
from rrsis_bench.families.detris.decoder import DetrisDecoder
from rrsis_bench.families.detris.neck import DetrisNeck
from rrsis_bench.families.detris.projector import DetrisProjector
from rrsis_bench.families.detris.text_adapter import DenseTextAdapter
from rrsis_bench.nn.layers.forms import as_published

TENSORS, META = load_golden(FIXTURES / "detris_parts_small_seed5.safetensors")
SIZE = META["options"]
INPUTS = {name[3:]: tensor.double() for name, tensor in TENSORS.items() if name.startswith("in.")}
PADDING = INPUTS["padding"] == 1


def filled(module: nn.Module, prefix: str) -> nn.Module:
    """The module in float64 and evaluation mode, with the fixture's parameters."""
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items() if value.is_floating_point()}
    missing, unexpected = module.load_state_dict(official_state(shapes, int(META["seed"]), prefix), strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return module.double().eval()


def neck() -> nn.Module:
    return filled(DetrisNeck(SIZE["map_channels"], SIZE["width"], 512, SIZE["heads"]), "neck.")


def decoder() -> nn.Module:
    return filled(DetrisDecoder(SIZE["width"], SIZE["heads"], SIZE["ffn"], SIZE["decoder_layers"]), "decoder.")


def difference(ours: Tensor, name: str) -> float:
    assert ours.shape == TENSORS[name].shape
    return (ours - TENSORS[name]).abs().max().item()


@torch.no_grad()
def test_neck_decoder_projector_equal_the_official_chain() -> None:
    fused = neck()((INPUTS["v3"], INPUTS["v4"], INPUTS["v5"]), INPUTS["state"])
    assert difference(fused, "neck") < 1e-9
    decoded = decoder()(fused, INPUTS["words"], PADDING)
    assert difference(decoded, "decoder") < 1e-9
    logits = filled(DetrisProjector(SIZE["width"], 512), "proj.")(decoded, INPUTS["state"])
    assert difference(logits, "logits") < 1e-9


@torch.no_grad()
def test_dense_text_adapter_equals_the_official_one() -> None:
    adapter = filled(DenseTextAdapter(SIZE["text_dim"], SIZE["bottleneck"]), "textual_adapter.")
    assert difference(adapter(INPUTS["text"]), "textual_adapter") < 1e-9


@torch.no_grad()
def test_dense_text_adapter_with_a_mask_does_not_see_padding() -> None:
    adapter = filled(DenseTextAdapter(64, 32), "any.")
    words = torch.randn(2, 5, 64, dtype=torch.float64)
    longer = torch.cat((words, torch.randn(2, 4, 64, dtype=torch.float64)), dim=1)
    short = adapter(words, torch.ones(2, 5, dtype=torch.bool))
    long = adapter(longer, torch.arange(9)[None].expand(2, -1) < 5)
    assert torch.allclose(short, long[:, :5], atol=1e-12)


@torch.no_grad()
def test_linear_gate_is_the_attention_gate() -> None:
    attention = neck()
    linear = DetrisNeck(SIZE["map_channels"], SIZE["width"], 512, SIZE["heads"], gate="linear").double().eval()
    state = attention.state_dict()
    width = SIZE["width"]
    for level in (3, 4, 5):
        old, new = f"fusion{level}.multihead_attn.", f"fusion{level}."
        state[f"{new}0.weight"] = state.pop(f"{old}in_proj_weight")[2 * width :]
        state[f"{new}0.bias"] = state.pop(f"{old}in_proj_bias")[2 * width :]
        state[f"{new}1.weight"] = state.pop(f"{old}out_proj.weight")
        state[f"{new}1.bias"] = state.pop(f"{old}out_proj.bias")
    linear.load_state_dict(state)
    maps = (INPUTS["v3"], INPUTS["v4"], INPUTS["v5"])
    assert torch.allclose(attention(maps, INPUTS["state"]), linear(maps, INPUTS["state"]), atol=1e-12)


@torch.no_grad()
def test_gate_equals_attention_to_one_key() -> None:
    gate = neck().get_submodule("fusion3")
    token = torch.randn(2, SIZE["width"], dtype=torch.float64)
    query = torch.randn(2, 9, SIZE["width"], dtype=torch.float64)
    attended, _ = gate.get_submodule("multihead_attn")(query, token[:, None], token[:, None])
    assert torch.allclose(attended, gate(token)[:, None].expand_as(attended), atol=1e-12)


@pytest.mark.parametrize("gate", ["attention", "linear"])
def test_published_head_size(gate: str) -> None:
    with torch.device("meta"):
        head = nn.ModuleList((DetrisNeck(768, 512, 512, 8, gate), DetrisDecoder(), DetrisProjector()))  # type: ignore[arg-type]
    expected = 22_802_433 - (3 * 525_312 if gate == "linear" else 0)
    assert sum(parameter.numel() for parameter in head.parameters()) == expected


@torch.no_grad()
def test_decoder_ignores_padding_and_takes_any_rectangle() -> None:
    module = decoder()
    maps = torch.randn(2, SIZE["width"], 3, 5, dtype=torch.float64)
    words = torch.randn(2, 4, SIZE["width"], dtype=torch.float64)
    longer = torch.cat((words, torch.randn(2, 3, SIZE["width"], dtype=torch.float64)), dim=1)
    short = module(maps, words, torch.zeros(2, 4, dtype=torch.bool))
    long = module(maps, longer, torch.arange(7)[None].expand(2, -1) >= 4)
    assert short.shape == maps.shape
    assert torch.allclose(short, long, atol=1e-12)


def test_projector_without_mixed_maps_equals_the_published_form() -> None:
    torch.manual_seed(0)
    projector = DetrisProjector(12, 5).double()
    given = [torch.randn(2, 12, 3, 4), torch.randn(2, 5)]
    inputs = [one.double().requires_grad_() for one in given] + list(projector.parameters())
    with as_published():
        wanted = projector(*inputs[:2])
    upstream = torch.randn_like(wanted)
    gradients = torch.autograd.grad(wanted, inputs, upstream)
    projector.vis[4].register_forward_hook(lambda *_: pytest.fail("the mixed maps were made"))
    found = projector(*inputs[:2])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    for one, other in zip(torch.autograd.grad(found, inputs, upstream), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
