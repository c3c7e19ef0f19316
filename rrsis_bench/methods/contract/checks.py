"""The table of all checks, and functions that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rrsis_bench import config, registry
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import method_class
from rrsis_bench.methods.contract import device, network, outputs, registered, training
from rrsis_bench.methods.contract.subject import Outcome, Subject, seeds

CHECKS: Mapping[str, Callable[[Subject], Outcome]] = {
    "the configuration resolves": registered.resolves,
    "every variant builds": registered.variants_build,
    "base weights load": registered.weights_load,
    "builds": network.builds,
    "form of the logits at two image sizes": outputs.have_form,
    "logits are logits": outputs.are_logits,
    "the truth does not change the logits": outputs.ignore_the_truth,
    "losses are scalars": training.losses_are_scalars,
    "gradients reach what trains, and nothing else": training.gradients_arrive,
    "activations computed again give the same gradients": training.recomputes,
    "calibration takes batches of val": training.calibrates,
    "frozen stays frozen, optimiser groups are complete": training.frozen_stays,
    "loss falls on one batch": training.loss_falls,
    "permuting the batch permutes the outputs": outputs.permute,
    "shared and expanded images give the same logits": outputs.share,
    "padding tokens do not change logits": outputs.ignore_padding,
    "empty and over-long text work": outputs.take_any_text,
    "evaluation is deterministic": outputs.are_deterministic,
    "save and load give identical logits": network.reloads,
    "bf16 autocast runs": training.runs_in_bf16,
    "runs on a GPU without waiting for it": device.never_waits,
    "size is the published one": network.has_published_size,
}


@dataclass(frozen=True)
class Check:
    """One check and its outcome.

    Attributes:
        name: name of the check in `CHECKS`.
        passed: whether the method passed.
        detail: the measured figures, in words.
    """

    name: str
    passed: bool
    detail: str


def check_method(name: str, variant: str = "tiny") -> list[Check]:
    """Run all checks on a registered method.

    A method's card may hold `no_gradient`: glob patterns of parameters that get no gradient in the published design. It
    may hold `published_parameters`: variant -> number of parameters of the published network. It may hold `waits`: why
    the code of a library that the method runs makes the host wait for a GPU.

    Args:
        name: registry name.
        variant: name of a variant that is small enough for a CPU.

    Raises:
        UsageError: unknown method or variant, or a method without a card.
    """
    card = registry.checked_card(name)
    options = config.variant_options(name, variant)
    kind = method_class(name)

    def builder(chosen: str) -> Callable[[], Method]:
        return lambda: kind.from_options(config.variant_options(name, chosen))

    published = {size: (int(n), builder(size)) for size, n in (card.get("published_parameters") or {}).items()}
    largest = config.method_config(name).get("published", variant)
    large = {} if largest == variant else {largest: builder(largest)}
    dead, waits = registry.dead_parameters(name), str(card.get("waits") or "")
    return run_checks(Subject(lambda: kind.from_options(options), dead, published, large, name, variant, waits))


def run_checks(subject: Subject) -> list[Check]:
    """Run every check. A check that raises an exception counts as failed."""
    return [run_check(name, subject) for name in CHECKS]


def run_check(name: str, subject: Subject) -> Check:
    """Run one check by its name in `CHECKS`."""
    try:
        with seeds(0):
            passed, detail = CHECKS[name](subject)
    except Exception as error:  # a method of another package may raise anything
        reason = " ".join(str(error).split())[:200]
        return Check(name, False, f"{type(error).__name__}: {reason}")
    return Check(name, passed, detail)
