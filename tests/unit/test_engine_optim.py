"""Optimisers and schedules: the rates follow their formulas, and the groups miss nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from rrsis_bench.engine.optim import OptimizerConfig, ScheduleConfig, build_optimizer, build_schedule, check_groups
from rrsis_bench.errors import UsageError, UserError


def rates(config: ScheduleConfig, total: int, per_epoch: int = 5, lr: float = 1.0) -> list[float]:
    layer = nn.Linear(2, 2)
    groups: list[dict[str, Any]] = [{"params": list(layer.parameters()), "lr": lr}]
    optimizer = build_optimizer(groups, OptimizerConfig(lr=lr), fused=False)
    schedule = build_schedule(optimizer, config, total, per_epoch)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_poly_is_the_published_formula() -> None:
    found = rates(ScheduleConfig("poly", power=0.9), 20)
    assert found == pytest.approx([(1 - t / 20) ** 0.9 for t in range(20)])


def test_cosine_starts_at_one_and_ends_at_its_floor() -> None:
    found = rates(ScheduleConfig("cosine", floor=0.1), 20)
    assert found == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * t / 20)) / 2 for t in range(20)])


def test_step_drops_at_its_epochs() -> None:
    found = rates(ScheduleConfig("step", milestones=(2, 3), gamma=0.1), 20)
    assert found == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)


def test_constant_stays() -> None:
    assert rates(ScheduleConfig("constant"), 7) == pytest.approx([1.0] * 7)


def test_warm_up_is_linear_and_the_rest_fits_into_what_remains() -> None:
    found = rates(ScheduleConfig("poly", power=1.0, warmup_steps=4, warmup_factor=0.2), 12)
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4:] == pytest.approx([1 - t / 8 for t in range(8)])


@pytest.mark.parametrize("name", ["poly", "cosine"])
def test_a_run_without_end_needs_a_schedule_without_end(name: Any) -> None:
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer([{"params": list(layer.parameters())}], OptimizerConfig(), fused=False)
    with pytest.raises(UsageError, match="max_epochs"):
        build_schedule(optimizer, ScheduleConfig(name), math.inf, math.inf)
    build_schedule(optimizer, ScheduleConfig("constant"), math.inf, math.inf)


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(UsageError, match="warmup_steps=30"):
        rates(ScheduleConfig("poly", warmup_steps=30), 20)


def test_schedules_survive_a_checkpoint_that_holds_only_plain_values(tmp_path: Any) -> None:
    for config in (ScheduleConfig("step", milestones=(1,), warmup_steps=3), ScheduleConfig("cosine", warmup_steps=3)):
        layer = nn.Linear(2, 2)
        groups: list[dict[str, Any]] = [{"params": list(layer.parameters())}]
        optimizer = build_optimizer(groups, OptimizerConfig(), fused=False)
        schedule = build_schedule(optimizer, config, 20, 5)
        for _ in range(7):
            optimizer.step()
            schedule.step()
        torch.save(schedule.state_dict(), tmp_path / "s.pt")
        fresh = build_schedule(build_optimizer(groups, OptimizerConfig(), fused=False), config, 20, 5)
        fresh.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
        assert fresh.last_epoch == schedule.last_epoch == 7
        assert fresh.get_last_lr() == schedule.get_last_lr()


def test_groups_must_hold_each_trainable_parameter_once() -> None:
    method = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    method[0].weight.requires_grad_(False)
    good = [method[0].bias, method[1].weight, method[1].bias]
    check_groups(method, [{"params": good[:1]}, {"params": good[1:]}])
    with pytest.raises(UserError, match=r"1\.bias"):
        check_groups(method, [{"params": good[:2]}])
    with pytest.raises(UserError, match="two groups"):
        check_groups(method, [{"params": [*good, good[0]]}])
    with pytest.raises(UserError, match="frozen"):
        check_groups(method, [{"params": [*good, method[0].weight]}])
