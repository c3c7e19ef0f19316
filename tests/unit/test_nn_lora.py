"""Low-rank updates, and base weights under them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.layers.lora import add_lora, fit_base, plain_names


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"one": nn.Linear(6, 5), "two": nn.Conv2d(4, 3, 1), "three": nn.Linear(2, 2)})


def test_updates_train_and_nothing_else() -> None:
    module = network()
    x, maps = torch.randn(2, 6), torch.randn(2, 4, 3, 3)
    before = module["one"](x), module["two"](maps)
    add_lora(module, "one|two", 2, 4.0)
    # The updates start at zero.
    assert torch.equal(module["one"](x), before[0])
    assert torch.equal(module["two"](maps), before[1])
    trained = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
    assert set(trained) == {f"{n}.lora_{ab}.default.weight" for n in ("one", "two") for ab in "AB"}
    assert sum(shape.numel() for shape in trained.values()) == 2 * (6 + 5 + 4 + 3)
    nn.init.ones_(module["one"].lora_B["default"].weight)
    change = module["one"](x) - before[0]
    expected = (x @ module["one"].lora_A["default"].weight.T).sum(1, keepdim=True) * 4.0 / 2
    torch.testing.assert_close(change, expected.expand(-1, 5))


def test_rank_zero_only_freezes() -> None:
    module = network()
    add_lora(module, "one", 0, 1.0)
    assert not [name for name in module.state_dict() if "lora" in name]
    assert not any(p.requires_grad for p in module.parameters())


def test_no_such_layer_is_an_error() -> None:
    with pytest.raises(UsageError, match="finds no layer 'four'"):
        add_lora(network(), "four", 2, 2.0)


def test_base_weights_load_by_their_plain_names() -> None:
    plain, adapted = network(), network()
    add_lora(adapted, "one|two", 2, 2.0)
    assert set(plain_names(adapted)) == set(plain.state_dict())
    nn.init.ones_(adapted["one"].lora_B["default"].weight)
    state = {name: torch.randn_like(value) for name, value in plain.state_dict().items()}
    fit_base(adapted, state, "weights")
    assert torch.equal(adapted["one"].base_layer.weight, state["one.weight"])
    assert torch.equal(adapted["three"].bias, state["three.bias"])
    assert torch.equal(adapted["one"].lora_B["default"].weight, torch.ones(5, 2))
    with pytest.raises(MissingResourceError, match=r"does not know four\.weight"):
        fit_base(adapted, state | {"four.weight": torch.ones(1)}, "weights")
    del state["one.bias"]
    with pytest.raises(MissingResourceError, match=r"misses one\.base_layer\.bias"):
        fit_base(adapted, state, "weights")
