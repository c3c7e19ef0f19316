"""The shell that mixes the maps of all stages: its formula, its grid, and its released names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.nn.layers.multiscale import MultiScaleShell, shell_names
from rrsis_bench.nn.weights.name_map import NameMap

WIDTHS = (4, 8, 16, 32)


def maps(height: int = 24, width: int = 40) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, height // 2**i, width // 2**i, generator=draw) for i, c in enumerate(WIDTHS)]


@torch.no_grad()
def test_pools_joins_and_gates_as_the_formula_says() -> None:
    torch.manual_seed(0)
    shell = MultiScaleShell(WIDTHS, grid=3)
    for _ in range(2):  # moves the running statistics off their start
        shell.spread(shell.pool(maps()), maps())
    shell.eval()
    y = shell.pool(maps())
    joined = torch.cat([F.adaptive_avg_pool2d(one, 3) for one in maps()], 1)
    assert y.shape == (2, 15, 3, 3)
    torch.testing.assert_close(y, shell.down(joined))
    wide = shell.up(shell.bn(y))
    start = 0
    for one, found, gate in zip(maps(), shell.spread(y, maps()), shell.gates, strict=True):
        part = wide[:, start : start + one.shape[1]]
        start += one.shape[1]
        keep = ((gate.keep_bn(gate.keep(part)) + 3).clamp(0, 6)) / 6
        add = gate.add_bn(gate.add(part))
        keep, add = (F.interpolate(x, one.shape[-2:], mode="bilinear", align_corners=False) for x in (keep, add))
        torch.testing.assert_close(found, gate.local_bn(gate.local(one)) * keep + add)


@pytest.mark.parametrize(("grid", "size"), [(None, (3, 5)), (4, (4, 4))])
@torch.no_grad()
def test_grid_is_the_last_map_s_size_or_fixed(grid: int | None, size: tuple[int, int]) -> None:
    shell = MultiScaleShell(WIDTHS, 6, grid).eval()
    y = shell.pool(maps())
    assert y.shape == (2, 6, *size)
    assert [one.shape for one in shell.spread(y, maps())] == [one.shape for one in maps()]


def test_published_width_is_a_quarter_of_all_and_names_are_one_to_one() -> None:
    with torch.device("meta"):
        shell = MultiScaleShell((128, 256, 512, 1024))
    assert shell.inner == 480
    names = NameMap("a shell", shell_names("backbone.cim", "shell"), {})
    released = [
        f"fusion.{i}.{part}" for i in range(4) for part in ("local_embedding", "global_embedding", "global_act")
    ]
    norms = ["bn", *(f"fusion.{i}.bn{k}" for i in range(4) for k in (1, 2, 3))]
    keys = [
        f"{part}.{kind}" for part in ("down_channel", "up_channel", *released, *norms) for kind in ("weight", "bias")
    ]
    keys += [f"{part}.{kind}" for part in norms for kind in ("running_mean", "running_var", "num_batches_tracked")]
    placed = [names.ours(f"backbone.cim.{key}") for key in keys]
    assert sorted(name or "?" for name in placed) == sorted(f"shell.{name}" for name in shell.state_dict())
    # The spared word of the optimiser groups must not turn up: the released batch norms here decay.
    assert not any("norm" in name for name, _ in shell.named_parameters())
