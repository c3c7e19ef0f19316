"""What a run will cost on a card that need not be there: memory, largest batch, hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch.optim import Optimizer

from rrsis_bench.cost.cards import Card
from rrsis_bench.cost.memory import StepCost, step_cost, training_bytes
from rrsis_bench.data.control import LIMIT
from rrsis_bench.methods.base import Method

UTILISATION = (0.25, 0.45)
"""Share of a card's peak that trainings of such networks usually reach; it stands in where no step was measured."""

OVERHEAD = 1.2
"""Our allowance for what the count of tensors leaves out: workspaces of convolutions and unused parts of blocks."""

CONTEXT_GIB = 0.6
"""Our allowance for the program itself on the card, in GiB."""

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How a run trains.

    Attributes:
        samples: number of samples per split; that of train is known.
        epochs: epochs of training.
        batch_size: samples per device and forward pass.
        eval_batch_size: samples per forward pass in scoring.
        devices: number of cards.
        half: whether forward passes run in half precision.
    """

    samples: Mapping[str, int]
    epochs: int
    batch_size: int
    eval_batch_size: int
    devices: int
    half: bool


@dataclass(frozen=True)
class OnCard:
    """A run on a card.

    Attributes:
        largest_batch: most samples per device that fit in training; 0 if not even one does.
        fits: whether the plan's batch fits.
        hours: shortest and longest time of training, validations and test.
    """

    largest_batch: int
    fits: bool
    hours: tuple[float, float]


def batch_costs(
    build: Callable[[], Method],
    optimizer: Callable[[Method], Optimizer | None],
    plan: Plan,
    checkpointing: bool,
    as_published: bool = True,
) -> tuple[StepCost, float]:
    """The cost of a step with the plan's batch, and the bytes that each sample adds to the peak in training.

    Args:
        build: builds the network with random weights.
        optimizer: builds its optimiser; None for a method without trainable parameters.
        plan: how the run trains.
        checkpointing: compute activations again in the backward pass.
        as_published: see `step_cost`.
    """
    other = 1 if plan.batch_size > 1 else 2
    cost = step_cost(build, optimizer, plan.batch_size, plan.half, checkpointing, as_published)
    peak = training_bytes(build, optimizer, other, plan.half, checkpointing, as_published)
    return cost, (cost.training_bytes - peak) / (cost.batch_size - other)


def on_card(
    card: Card, plan: Plan, cost: StepCost, sample_bytes: float, shares: tuple[float, float] | None = None
) -> OnCard:
    """Forecast a run on a card.

    Args:
        card: the card.
        plan: how the run trains.
        cost: the cost of a step with the plan's batch.
        sample_bytes: what each sample adds to the peak in training.
        shares: lowest and highest share of the card's peak, from `measured.utilisation`; None for `UTILISATION`.
    """
    fixed = cost.training_bytes - sample_bytes * cost.batch_size
    room = (card.memory_gib - CONTEXT_GIB) * GIB / OVERHEAD - fixed
    largest = max(0, int(room / sample_bytes)) if sample_bytes > 0 else plan.batch_size
    peak = card.half if plan.half else card.float32
    total = run_flops(plan, cost)
    slow, fast = (total / (share * peak * 1e12 * plan.devices) / 3600 for share in shares or UTILISATION)
    return OnCard(largest, largest >= plan.batch_size, (fast, slow))


def fits(card: Card, tensors: float) -> bool:
    """Whether tensors of so many bytes fit on a card, with the allowances for what their count leaves out."""
    return OVERHEAD * tensors / GIB + CONTEXT_GIB <= card.memory_gib


def preset(card: Card, plan: Plan, found: OnCard, trainer: str, saving_bytes: int | None) -> str:
    """The trainer preset to use on a card.

    Args:
        card: the card.
        plan: how the run trains.
        found: the forecast of the run on the card.
        trainer: the preset that was forecast.
        saving_bytes: peak of the tensors in training with the preset `low-memory`; None if it was not computed.
    """
    if found.fits:
        return "ddp" if trainer == "gpu" and plan.devices > 1 else trainer
    return "low-memory" if saving_bytes is not None and fits(card, saving_bytes) else "fsdp"


def run_flops(plan: Plan, cost: StepCost) -> float:
    """Operations of a whole run: training, a validation after each epoch, and the test with its language control."""
    training = plan.epochs * plan.samples["train"] * cost.training_flops
    scored = plan.epochs * plan.samples.get("val", 0) + (test := plan.samples.get("test", 0)) + min(test, LIMIT)
    return (training + scored * cost.scoring_flops) / cost.batch_size
