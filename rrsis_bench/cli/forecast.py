"""`rrsis-bench forecast`: memory, largest batch and hours of a run, without GPU, data or weights."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from rrsis_bench import terminal
from rrsis_bench.cli._words import as_int
from rrsis_bench.config import zero_shot
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.kinds import whole
from rrsis_bench.run.request import RunRequest

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from rrsis_bench.cost.cards import Card
    from rrsis_bench.cost.forecast import OnCard, Plan
    from rrsis_bench.cost.memory import StepCost
    from rrsis_bench.methods.base import Method

    Build = Callable[[], Method]
    Optimise = Callable[[Method], Optimizer | None]

Found = TypeVar("Found")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--method", required=True, help="name of the method (rrsis-bench methods list)")
    parser.add_argument("--dataset", required=True, help="name of the data set (rrsis-bench data list)")
    parser.add_argument("--variant", help="variant of the method; default: the data set's")
    parser.add_argument("--recipe", help="recipe of the method; default: the variant's")
    parser.add_argument("--trainer", default="gpu", help="trainer preset (default: gpu, which trains in bf16)")
    parser.add_argument("--gpu", default="all", help="name of a card, or all (default: all)")
    parser.add_argument("--gpus", type=as_int(whole(1)), default=1, metavar="N", help="number of cards (default: 1)")
    parser.add_argument(
        "--batch-size", type=as_int(whole(1)), metavar="N", help="samples per card; default: the recipe's"
    )
    parser.add_argument(
        "--samples", type=as_int(whole(1)), metavar="N", help="training samples of a data set of your own"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Forecast and print."""
    from rrsis_bench.cost.cards import CARDS

    if args.gpu != "all" and args.gpu not in CARDS:
        raise UsageError(f"unknown card '{args.gpu}'.{did_you_mean(args.gpu, ['all', *CARDS])}")
    cards = {name: card for name, card in CARDS.items() if args.gpu in {"all", name}}
    config = _resolved(args)
    plan = plan_of(config, args.samples, args.gpus)

    from rrsis_bench.cost import measured
    from rrsis_bench.cost.forecast import on_card, preset, run_flops

    model: dict[str, Any] = config["model"]
    cost, sample_bytes = cost_of(config, plan)
    flops = run_flops(plan, cost)
    label, on_gpus = f"{model['method']}@{model['variant']}", measured.read(measured.folder_of())[0]
    shares = {
        name: measured.utilisation(card, plan.half, label, plan.batch_size, on_gpus) for name, card in cards.items()
    }
    found = {name: on_card(card, plan, cost, sample_bytes, shares[name]) for name, card in cards.items()}
    tight = plan.epochs and not all(forecast.fits for forecast in found.values())
    saving = _low_memory_bytes(args, plan) if tight and args.trainer == "gpu" else None
    presets = {name: preset(cards[name], plan, forecast, args.trainer, saving) for name, forecast in found.items()}
    if args.json:
        report = {
            "plan": asdict(plan), "step": asdict(cost), "run_flops": flops, "measured_utilisation": shares,
            "low_memory_bytes": saving,
            "cards": {name: {**asdict(forecast), "preset": presets[name]} for name, forecast in found.items()},
        }  # fmt: skip
        print(json.dumps(report, indent=2, sort_keys=True))
    else:
        _print(model, args.dataset, plan, cost, flops, cards, found, shares, presets)
    return 0


def _resolved(args: argparse.Namespace) -> Mapping[str, Any]:
    """The configuration of the run that is forecast."""
    from rrsis_bench.run.resolve import resolve

    values = {} if args.batch_size is None else {"data.batch_size": args.batch_size}
    request = RunRequest(args.method, args.dataset, args.variant, args.trainer, args.recipe, values=values)
    return resolve(request).config


def _low_memory_bytes(args: argparse.Namespace, plan: Plan) -> int:
    """Peak of the tensors in training with the preset `low-memory`."""
    from dataclasses import replace

    from rrsis_bench.cost.memory import training_bytes
    from rrsis_bench.methods.base import Method
    from rrsis_bench.methods.build import method_class, overrides
    from rrsis_bench.run.resolve import resolve

    able = overrides(method_class(args.method), Method.checkpoint_activations.__name__)
    values = {} if able else {"model.activation_checkpointing": False}
    request = RunRequest(args.method, args.dataset, args.variant, "low-memory", args.recipe, values=values)
    config = resolve(request).config
    saving = replace(plan, batch_size=int(config["data"]["batch_size"]))

    def compute(build: Build, optimizer: Optimise, again: bool) -> int:
        return training_bytes(build, optimizer, saving.batch_size, saving.half, again)

    return _forecast(config, saving, compute)


def plan_of(config: Mapping[str, Any], samples: int | None = None, gpus: int = 1) -> Plan:
    """How a run trains, from its configuration; a zero-shot run has no epoch.

    Args:
        config: the resolved configuration of a run.
        samples: number of training samples; None for that of the data set.
        gpus: number of cards.

    Raises:
        UsageError: the number of training samples or of epochs is not known.
    """
    from rrsis_bench.cost.forecast import Plan
    from rrsis_bench.data.catalogue import describe

    trainer, data = config["trainer"], config["data"]
    counts = {"train": samples} if samples else dict(describe(data["dataset"]).counts)
    if "train" not in counts:
        raise UsageError(f"how many training samples {data['dataset']} has is not known; pass --samples N.")
    epochs = 0 if zero_shot(config) else int(trainer["max_epochs"] or 0)
    if epochs < 1 and not zero_shot(config):
        raise UsageError("the run has no number of epochs; a forecast needs one (trainer.max_epochs).")
    half = not str(trainer["precision"]).startswith(("32", "64"))
    return Plan(counts, epochs, int(data["batch_size"]), int(data["eval_batch_size"]), gpus, half)


def cost_of(config: Mapping[str, Any], plan: Plan) -> tuple[StepCost, float]:
    """The cost of a step of a run, and the bytes that each sample adds to the peak in training.

    Args:
        config: the resolved configuration of the run.
        plan: how it trains; without an epoch it is only scored.

    Raises:
        UsageError: the values of tensors decide what a step computes.
    """
    from rrsis_bench.cost.forecast import batch_costs

    return _forecast(config, plan, lambda build, optimizer, saving: batch_costs(build, optimizer, plan, saving))


def step_of(config: Mapping[str, Any], plan: Plan) -> StepCost:
    """The cost of a step of a run alone; see `cost_of`."""
    from rrsis_bench.cost.memory import step_cost

    def compute(build: Build, optimizer: Optimise, saving: bool) -> StepCost:
        return step_cost(build, optimizer, plan.batch_size, plan.half, saving)

    return _forecast(config, plan, compute)


def _forecast(config: Mapping[str, Any], plan: Plan, compute: Callable[[Build, Optimise, bool], Found]) -> Found:
    """Hand a run's network, its optimiser and whether it saves memory to a function that runs fake steps."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    from rrsis_bench.methods.build import build_method

    model = config["model"]

    def build() -> Method:
        method = build_method(model["method"], model["variant"], model.get("options") or {}, pretrained=False)[0]
        return method if plan.epochs else method.requires_grad_(False)

    try:
        return compute(build, _optimizer(model), bool(model["activation_checkpointing"]))
    except RuntimeError as error:
        # Torch's own words for a tensor that the step hands to numpy; the two classes are its words for the rest.
        known = isinstance(error, DataDependentOutputException | DynamicOutputShapeException)
        if not known and ".numpy() is not supported" not in str(error):
            raise
        raise UsageError(
            f"no forecast of {model['method']} ({model['variant']}): the values of its tensors decide what a step "
            "computes, and a forecast has none. Measure it: rrsis-bench profile."
        ) from error


def _optimizer(model: Mapping[str, Any]) -> Callable[[Method], Optimizer | None]:
    from rrsis_bench.engine.optim import OptimizerConfig, build_optimizer
    from rrsis_bench.nn.layers.freezing import trainable

    wanted = OptimizerConfig(**(model.get("optimizer") or {}))

    def build(method: Method) -> Optimizer | None:
        if not trainable(method.parameters()):
            return None
        return build_optimizer(method.param_groups(wanted.lr, wanted.weight_decay), wanted, fused=False)

    return build


def _print(
    model: Mapping[str, Any],
    dataset: str,
    plan: Plan,
    cost: StepCost,
    flops: float,
    cards: Mapping[str, Card],
    found: Mapping[str, OnCard],
    shares: Mapping[str, tuple[float, float] | None],
    presets: Mapping[str, str],
) -> None:
    from rich.table import Table

    from rrsis_bench.cost.forecast import CONTEXT_GIB, OVERHEAD, UTILISATION

    gib = 2**30
    precision = "half precision" if plan.half else "float32"
    terminal.say(
        f"{model['method']} ({model['variant']}) on {dataset}: {plan.epochs} epochs of {plan.samples['train']:,} "
        f"training samples, batch {plan.batch_size} per card, {plan.devices} card(s), {precision}"
    )
    terminal.say(f"parameters         {cost.parameters:,}, trained {cost.trainable:,}")
    terminal.say(
        f"memory, training   {cost.training_bytes / gib:.2f} GiB of tensors, of which {cost.state_bytes / gib:.2f} GiB "
        "stay between steps"
    )
    terminal.say(f"memory, scoring    {cost.scoring_bytes / gib:.2f} GiB of tensors, without native masks")
    terminal.say(
        f"operations         {cost.training_flops / cost.batch_size / 1e9:,.1f} GFLOP a training sample, "
        f"{flops / 1e15:,.2f} PFLOP the run"
    )
    table = Table(box=None, pad_edge=False)
    for head in ("card", "GiB", "fits", "largest batch", "hours", "--trainer"):
        table.add_column(head, justify="left" if head in {"card", "fits", "--trainer"} else "right")
    for name, forecast in found.items():
        card = cards[name]
        note = "" if card.bf16 or not plan.half else "; no bf16: --trainer.precision=16-mixed"
        fits = f"{'yes' if forecast.fits else 'no'}{note}"
        low, high = forecast.hours
        hours = f"{low:,.1f}-{high:,.1f}" if forecast.largest_batch else "-"
        table.add_row(
            f"{name} ({card.title})", str(card.memory_gib), fits, f"{forecast.largest_batch:,}", hours, presets[name]
        )
    print()
    terminal.show(table)
    terminal.say(
        f"\nA forecast, not a measurement. A batch fits if {OVERHEAD:g} times its tensors and {CONTEXT_GIB:g} GiB do. "
        f"Hours assume {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%} of the card's peak, and that data arrive in time."
    )
    for name, share in shares.items():
        if share is not None:
            terminal.say(f"On {name}, steps were measured: hours take {share[0]:.1%} to {share[1]:.1%} of its peak.")
    if not all(forecast.fits for forecast in found.values()):
        terminal.say(
            "Where the batch does not fit, pass a smaller --data.batch_size: accumulation keeps the recipe's batch if "
            "data.global_batch is set. Or take the preset of the last column: low-memory trains on batches of two and "
            "computes activations again, fsdp divides the network among several cards."
        )
