"""What a run will cost on a card that need not be there: memory, largest batch, hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch.optim import Optimizer

from rrsis_bench.cost.cards import Card
from rrsis_bench.cost.memory import StepCost, step_cost
from rrsis_bench.errors import UsageError
from rrsis_bench.methods.base import Method

UTILISATION = (0.25, 0.45)
"""Share of a card's peak that trainings of such networks usually reach. Nobody has measured it for this suite."""

OVERHEAD = 1.2
"""Our allowance for what the count of tensors leaves out: workspaces of convolutions and unused parts of blocks."""

CONTEXT_GIB = 0.6
"""Our allowance for the program itself on the card, in GiB."""

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How a run trains.

    Attributes:
        samples: number of samples per split.
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
) -> tuple[StepCost, StepCost]:
    """The costs of a step with the plan's batch, and with another batch to tell what a sample adds.

    Args:
        build: builds the network with random weights.
        optimizer: builds its optimiser; None for a method without trainable parameters.
        plan: how the run trains.
        checkpointing: compute activations again in the backward pass.
        as_published: see `step_cost`.
    """
    other = 1 if plan.batch_size > 1 else 2
    first, second = (
        step_cost(build, optimizer, size, plan.half, checkpointing, as_published) for size in (plan.batch_size, other)
    )
    return first, second


def on_card(card: Card, plan: Plan, costs: tuple[StepCost, StepCost]) -> OnCard:
    """Forecast a run on a card.

    Args:
        card: the card.
        plan: how the run trains.
        costs: what `batch_costs` returned.
    """
    first, second = costs
    slope = (first.training_bytes - second.training_bytes) / (first.batch_size - second.batch_size)
    room = (card.memory_gib - CONTEXT_GIB) * GIB / OVERHEAD - (first.training_bytes - slope * first.batch_size)
    largest = max(0, int(room / slope)) if slope > 0 else plan.batch_size
    peak = card.half if plan.half else card.float32
    total = run_flops(plan, first)
    slow, fast = (total / (share * peak * 1e12 * plan.devices) / 3600 for share in UTILISATION)
    return OnCard(largest, largest >= plan.batch_size, (fast, slow))


def run_flops(plan: Plan, cost: StepCost) -> float:
    """Operations of a whole run: training, a validation after each epoch, and the test with its language control.

    Raises:
        UsageError: the number of training samples is not known.
    """
    if "train" not in plan.samples:
        raise UsageError("the data set's number of training samples is not known; pass --samples N.")
    training = plan.epochs * plan.samples["train"] * cost.training_flops
    scored = plan.epochs * plan.samples.get("val", 0) + 2 * plan.samples.get("test", 0)
    return (training + scored * cost.scoring_flops) / cost.batch_size
