"""RMSIN: released checkpoints, optimiser groups, sizes, and what its three modules promise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from baselines.rmsin import RMSIN
from baselines.rmsin.arc import AdaptiveRotatedConv, rotation
from baselines.rmsin.cim import CIM
from baselines.rmsin.iim import IntraScale
from helpers.golden import FIXTURES
from helpers.official import (
    SMALL_FAMILY,
    check_golden,
    official_checkpoint,
    official_keys,
    official_shapes,
    small_options,
)
from helpers.resolved import configured
from rrsis_bench.config import variant_options
from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.registry import card

SMALL = SMALL_FAMILY | {"cim_grid": 5, "cim_heads": 2, "cim_key": 4}


def small(seed: int = 0, **options: Any) -> RMSIN:
    torch.manual_seed(seed)
    return RMSIN.from_options(SMALL | options)


def inputs(size: tuple[int, int] = (64, 64), count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(count, 3, *size, generator=draw)
    return images, torch.randint(0, 60, (count, 9), generator=draw), torch.arange(9)[None] < torch.tensor([[6]] * count)


@pytest.fixture(scope="module")
def base() -> RMSIN:
    with torch.device("meta"):
        return RMSIN.from_options(variant_options("rmsin", "base")).eval()


@pytest.mark.slow
def test_gives_the_released_outputs() -> None:
    path = FIXTURES / "rmsin_small_seed0.safetensors"
    check_golden(path, "rmsin", lambda options: RMSIN.from_options(small_options(options)))


def test_published_size(base: RMSIN) -> None:
    assert sum(p.numel() for p in base.parameters()) == card("rmsin")["published_parameters"]["base"] == 240_037_163
    assert sum(p.numel() for p in base.decoder.parameters()) == 20_670_981
    assert sum(p.numel() for p in base.text.parameters()) == 108_891_648
    assert sum(p.numel() for p in base.stages[0].intra.parameters()) == 38


def test_published_optimiser_groups(base: RMSIN) -> None:
    groups = base.param_groups(3e-5, 1e-2)
    counted = [(len(group["params"]), sum(p.numel() for p in group["params"])) for group in groups]
    assert counted == [(136, 258_296), (499, 110_216_238), (38, 20_670_981), (160, 70_878_720)]
    assert [group["weight_decay"] for group in groups] == [0.0, 1e-2, 1e-2, 1e-2]
    assert {group["lr"] for group in groups} == {3e-5}


@pytest.mark.slow
def test_published_cost(base: RMSIN) -> None:
    ids = torch.zeros(1, 20, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        base.features(torch.empty(1, 3, 480, 480, device="meta"), ids, torch.ones_like(ids))
    assert counter.get_total_flops() / 1e9 == pytest.approx(408.12, rel=0.001)


def test_name_map_is_one_to_one_with_the_released_shapes(base: RMSIN) -> None:
    names, listed = RMSIN.released, official_keys("rmsin")
    assert len(listed) == 1107
    placed = [names.ours(key) for key in listed if not names.is_dropped(key)]
    assert sorted(name or "?" for name in placed) == sorted(base.state_dict())
    shapes = {key: entry.shape for key, entry in listed.items() if not names.is_dropped(key)}
    assert official_shapes(base, "rmsin") == shapes
    dropped = {key for key in listed if names.is_dropped(key)}
    assert {key.rpartition(".")[2] for key in dropped} == {"relative_position_index"}


@pytest.mark.slow
@torch.no_grad()
def test_loads_a_released_checkpoint_strictly(tmp_path: Path) -> None:
    source, method = small(1).eval(), small(2).eval()
    state = official_checkpoint(source, "rmsin")
    assert state["classifier.conv2_4.weight"].shape == (1, 12, 12, 3, 3)
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 39}, tmp_path / "a.pth")
    before, wanted = method.features(*inputs()).classes, source.features(*inputs()).classes
    assert not torch.equal(before, wanted)
    assert len(method.load_official(tmp_path / "a.pth")) == 64
    assert torch.equal(method.features(*inputs()).classes, wanted)
    for name, message in (
        ("backbone.cim.bn.weight", r"misses refine\.shell\.bn\.weight"),
        ("classifier.conv2_4.rounting_func.dwc.weight", r"misses decoder\.steps\.0\.conv2\.routing\.depthwise\.weight"),
    ):
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "b.pth")
        with pytest.raises(MissingResourceError, match=message):
            small().load_official(tmp_path / "b.pth")
    torch.save(state | {"backbone.tmem.bn.bias": torch.ones(1)}, tmp_path / "c.pth")
    with pytest.raises(MissingResourceError, match=r"cannot place backbone\.tmem\.bn\.bias"):
        small().load_official(tmp_path / "c.pth")
    with pytest.raises(MissingResourceError, match="another shape"):
        small(cim_grid=6).load_official(tmp_path / "a.pth")


@pytest.mark.parametrize("degrees", [40.0, 13.0, 0.0, -13.0, -40.0])
def test_rotation_is_the_published_table(degrees: float) -> None:
    theta = math.radians(degrees)
    x, y = math.cos(theta), math.sin(theta)
    a, b, c = x - y, x * y, x + y
    if theta >= 0:
        rows = [
            {0: a, 1: 1 - a},
            {1: x - b, 2: b, 4: 1 - c + b, 5: y - b},
            {2: a, 5: 1 - a},
            {0: b, 1: y - b, 3: x - b, 4: 1 - c + b},
            {4: 1.0},
            {4: 1 - c + b, 5: x - b, 7: y - b, 8: b},
            {3: 1 - a, 6: a},
            {3: y - b, 4: 1 - c + b, 6: b, 7: x - b},
            {7: 1 - a, 8: a},
        ]
    else:
        rows = [
            {0: c, 3: 1 - c},
            {0: -b, 1: x + b, 3: b - y, 4: 1 - a - b},
            {1: 1 - c, 2: c},
            {3: x + b, 4: 1 - a - b, 6: -b, 7: b - y},
            {4: 1.0},
            {1: b - y, 2: -b, 4: 1 - a - b, 5: x + b},
            {6: c, 7: 1 - c},
            {4: 1 - a - b, 5: b - y, 7: x + b, 8: -b},
            {5: 1 - c, 8: c},
        ]
    table = torch.zeros(9, 9, dtype=torch.float64)
    for index, row in enumerate(rows):
        for tap, value in row.items():
            table[index, tap] = value
    found = rotation(torch.tensor([theta], dtype=torch.float64))[0]
    torch.testing.assert_close(found, table, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sum(1), torch.ones(9, dtype=torch.float64))


@torch.no_grad()
def test_a_batch_of_rotated_convolutions_is_each_image_alone() -> None:
    torch.manual_seed(0)
    layer = AdaptiveRotatedConv(6, kernels=2).eval()
    torch.nn.init.normal_(layer.routing.angle.weight)
    features = torch.randn(3, 6, 10, 7)
    strength, angle = layer.routing(features)
    assert angle.std() > 0.05
    assert angle.abs().max() < math.radians(40)
    found, own = layer(features), layer.weight.view(2, 6, 6, 9)
    for index in range(3):
        kernel = sum(
            strength[index, j] * torch.einsum("rt,oit->oir", rotation(angle[index, j]), own[j]) for j in range(2)
        )
        assert isinstance(kernel, Tensor)
        alone = F.conv2d(features[index : index + 1], kernel.view(6, 6, 3, 3), padding=1)
        torch.testing.assert_close(found[index : index + 1], alone, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_channels_last_changes_nothing() -> None:
    method, (images, ids, mask) = small().eval(), inputs()
    wanted = method.features(images, ids, mask).classes
    found = method.to(memory_format=torch.channels_last).features(  # type: ignore[call-overload]
        images.to(memory_format=torch.channels_last), ids, mask
    )
    torch.testing.assert_close(found.classes, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cross_scale_module_keeps_sizes_and_counts_three_scales() -> None:
    torch.manual_seed(0)
    cim = CIM((8, 16, 32, 64), grid=5, heads=2, key=4).eval()
    assert cim.blocks[0].attention1.attention.gather.weight.shape == (25, 25 + 9 + 4)
    for height, width in ((40, 40), (24, 56)):
        maps = [torch.randn(2, 8 * 2**i, height // 2**i, width // 2**i) for i in range(4)]
        assert [one.shape for one in cim(maps, {})] == [one.shape for one in maps]
    changed = [*maps[:3], maps[3] + 1]
    moved = [not torch.allclose(a, b) for a, b in zip(cim(changed, {}), cim(maps, {}), strict=True)]
    assert moved == [True] * 4  # each scale hears of each other


@torch.no_grad()
def test_intra_scale_weight_is_one_number_per_pixel() -> None:
    torch.manual_seed(0)
    branch = IntraScale().eval()
    features = torch.randn(2, 6, 9, 4)
    weight = branch(features)
    assert weight.shape == (2, 6, 9, 1)
    assert 0 < weight.min() < weight.max() < 1
    torch.testing.assert_close(branch(features.flip(-1)), weight)  # the order of channels is lost in their mean


@torch.no_grad()
def test_takes_any_image_size() -> None:
    method = small().eval()
    found = method.features(*inputs((96, 72)))
    assert found.classes.shape == (2, 2, 24, 18)


def test_gradients_reach_all_but_what_the_last_stage_passes_on() -> None:
    method = small()
    images, ids, mask = inputs()
    classes = method.features(images, ids, mask).classes
    (classes.square().mean()).backward()  # type: ignore[no-untyped-call]
    without = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
    assert len(without) == 26
    assert {name.split(".")[2] for name in without} == {"gate", "visual_gate", "intra"}
    assert all(name.startswith("stages.3.") for name in without)
    assert method.stages[3].intra.first.point_bn.num_batches_tracked == 1


@torch.no_grad()
def test_starts_as_released() -> None:
    torch.manual_seed(0)
    layer = AdaptiveRotatedConv(64)
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert layer.routing.depthwise.weight.std().item() == pytest.approx(0.02, rel=0.15)
    cim = CIM((32, 64, 128, 256), grid=4)
    attention = cim.blocks[0].attention1.attention
    assert attention.project.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert attention.gather.bias.abs().max() == 0
    assert cim.shell.down.weight.std().item() == pytest.approx((3 * 480) ** -0.5, rel=0.05)


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"swin_width": 6, "swin_heads": [1, 1, 1, 1]}, "multiples of 4"),
        ({"dice": "batch"}, "none, sum, mean"),
        ({"cim_grd": 7}, "Did you mean 'cim_grid'"),
    ):
        with pytest.raises(UsageError, match=message):
            small(**options)


def test_recipes() -> None:
    released = configured("rmsin", "rrsisd")
    assert released["model"]["variant"] == "base"
    assert RMSIN.Options().dice == "sum"
    assert released["model"]["loss_weights"] == {"ce": 0.9, "dice": 0.1}
    assert released["model"]["optimizer"] == {"name": "adamw", "lr": 3e-5, "weight_decay": 0.01}
    assert released["data"]["augment"] == {"recipe": "paper"}
    assert (released["data"]["batch_size"], released["data"]["global_batch"]) == (2, 8)
    assert (released["trainer"]["max_epochs"], RMSIN.Options().max_tokens) == (40, 20)
    elsewhere = configured("rmsin", "refsegrs")
    assert elsewhere["model"]["optimizer"]["lr"] == 5e-5
    assert "augment" not in elsewhere["data"]
    ddp = configured("rmsin", "rrsisd", trainer="ddp")
    assert ddp["trainer"]["sync_batchnorm"] is True
