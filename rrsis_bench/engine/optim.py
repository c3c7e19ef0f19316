"""Optimisers and learning-rate schedules of torch by name.

A schedule advances once per optimiser step. `T` is the run's number of optimiser steps, `W` that of the warm-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    PolynomialLR,
    SequentialLR,
)

from rrsis_bench.errors import UsageError, UserError


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its hyper-parameters.

    Attributes:
        name: name of the optimiser.
        lr: base learning rate; a method may scale it for each parameter group.
        weight_decay: base weight decay; a method may exempt parameter groups from it.
        betas: decay rates of the two running moments.
        eps: term added to the denominator.
        amsgrad: divide by the maximum of the second moment so far (AMSGrad).
    """

    name: Literal["adamw", "adam"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    amsgrad: bool = False


@dataclass(frozen=True)
class ScheduleConfig:
    """The schedule of the learning rate: a factor of each parameter group's rate at step s.

    Attributes:
        name: `poly`, (1 - (s - W) / (T - W))^power; `cosine`, down to the rate `floor`; `step`, by `gamma` at
            `milestones`; or `constant`.
        power: exponent of `poly`.
        floor: final learning rate of `cosine`.
        warmup_steps: optimiser steps W of linear warm-up from `warmup_factor` to 1.
        warmup_factor: factor at the first step of the warm-up.
        milestones: epochs after which `step` multiplies by `gamma`.
        gamma: factor of `step`.
    """

    name: Literal["poly", "cosine", "step", "constant"] = "poly"
    power: float = 0.9
    floor: float = 0.0
    warmup_steps: int = 0
    warmup_factor: float = 0.01
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1


def check_groups(method: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Check that the optimiser groups hold each trainable parameter once, and no other parameter.

    Without this check, a parameter that no group holds would keep its initial value, and nothing would show it.

    Raises:
        UserError: a trainable parameter is missing, or a group holds a frozen one or one twice; the message names it.
    """
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    wanted = {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
    seen: set[int] = set()
    for group in groups:
        for parameter in group["params"]:
            key = id(parameter)
            if key in seen or key not in wanted:
                raise UserError(f"param_groups: '{names.get(key, '?')}' is frozen, foreign or in two groups.")
            seen.add(key)
    if missing := sorted(names[key] for key in wanted - seen):
        raise UserError(f"param_groups: no group holds the trainable {', '.join(missing[:5])} ({len(missing)} in all).")


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig, fused: bool) -> Optimizer:
    """Build the optimiser of a method's parameter groups.

    Args:
        groups: parameter groups that the method's `param_groups` returned.
        config: name and hyper-parameters.
        fused: make a step by one kernel, which does not wait for the device.
    """
    kind: type[Adam | AdamW] = {"adamw": AdamW, "adam": Adam}[config.name]
    optimizer: Optimizer = kind(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
        fused=fused or None,
    )
    return optimizer


def build_schedule(
    optimizer: Optimizer, config: ScheduleConfig, total_steps: float, steps_per_epoch: float
) -> LRScheduler:
    """Build the learning-rate schedule, which advances once per optimiser step.

    Args:
        optimizer: optimiser whose learning rates the schedule changes.
        config: name and values of the schedule.
        total_steps: optimiser steps T of the run; infinite if the run has no maximum of steps or epochs.
        steps_per_epoch: optimiser steps of one epoch, for `milestones`.

    Raises:
        UsageError: `poly` or `cosine` in a run without a maximum, or a warm-up that is not shorter than the run.
    """
    warmup = config.warmup_steps
    if math.isinf(total_steps) and config.name in {"poly", "cosine"}:
        raise UsageError(
            f"model.schedule.name={config.name} needs the length of the run: set trainer.max_epochs or "
            "trainer.max_steps, or use model.schedule.name=constant."
        )
    if warmup and warmup >= total_steps:
        raise UsageError(
            f"model.schedule.warmup_steps={warmup} is not shorter than the run of {int(total_steps)} optimiser steps; "
            "for a short trial add --model.schedule.warmup_steps=0."
        )
    main: LRScheduler
    if config.name == "poly":
        main = PolynomialLR(optimizer, total_iters=max(int(total_steps) - warmup, 1), power=config.power)
    elif config.name == "cosine":
        main = CosineAnnealingLR(optimizer, T_max=max(int(total_steps) - warmup, 1), eta_min=config.floor)
    elif config.name == "step":
        milestones = [max(round(epoch * steps_per_epoch) - warmup, 0) for epoch in config.milestones]
        main = MultiStepLR(optimizer, milestones=milestones, gamma=config.gamma)
    else:
        main = ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=config.warmup_factor, end_factor=1.0, total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], milestones=[warmup])
