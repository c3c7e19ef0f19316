"""The contract: every registered method passes it, and every check of it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rrsis_bench import registry
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract import CHECKS, Subject, check_method, run_check, run_checks
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.types import Batch, InputSpec, MethodOutput

INNER = ("lavt", "prior-image", "prior-text", "s4eca")
"""Methods whose contract the inner loop checks; `make test` checks them all."""
NAMES = [
    pytest.param(name, marks=() if name in INNER else pytest.mark.slow) for name in sorted(registry.method_targets())
]


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_method_keeps_the_contract(name: str) -> None:
    checks = check_method(name)
    assert [check.name for check in checks] == list(CHECKS)
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    assert not failed


@dataclass(frozen=True)
class Options:
    width: int = 8


class Toy(Method):
    """The smallest network that keeps the contract."""

    name: ClassVar[str] = "toy"
    Options: ClassVar[type[Any]] = Options

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        width = (options or Options()).width
        self.input_spec = InputSpec(image_size=(32, 32), tokenizer="tiny", max_tokens=16)
        self.stem = nn.Conv2d(3, width, 3, stride=4, padding=1)
        freeze(self.stem)
        self.norm = nn.BatchNorm2d(width)
        self.words = nn.Embedding(512, width)
        self.mix = nn.Conv2d(width, width, 1)
        self.head = nn.Conv2d(width, 1, 1)

    def sentence(self, batch: Batch) -> Tensor:
        weights = batch.tokens.mask[..., None].float()
        return (self.words(batch.tokens.ids) * weights).sum(1) / weights.sum(1)

    def forward(self, batch: Batch) -> MethodOutput:
        features = functional.gelu(self.mix(self.norm(self.stem(batch.images))))
        return MethodOutput(self.head(features * (1 + self.sentence(batch)[..., None, None])))

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        groups = super().param_groups(base_lr, weight_decay)
        return [{**group, "lr": 30 * base_lr} for group in groups]

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        target = functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:])
        return {"bce": functional.binary_cross_entropy_with_logits(output.logits.float(), target)}


class DoesNotBuild(Toy):
    def __init__(self) -> None:
        raise ValueError("no such encoder")


class TwoChannels(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.expand(-1, 2, -1, -1))


class OneSizeOnly(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(functional.interpolate(super().forward(batch).logits, (8, 8)))


class DeadWords(Toy):
    def sentence(self, batch: Batch) -> Tensor:
        return super().sentence(batch).detach()


class ThawsItself(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        self.stem.requires_grad_(True)
        return super().forward(batch)


class ForgetsAGroup(Toy):
    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.head.parameters()), "lr": base_lr}]


class OptimisesTheFrozen(Toy):
    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": base_lr}]


class MovesTheFrozen(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        with torch.no_grad():
            self.stem.weight.mul_(0.999)
        return super().forward(batch)


class LearnsBackwards(Toy):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": -super().loss(output, batch)["bce"]}


class LearnsNothing(Toy):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": 0 * super().loss(output, batch)["bce"] + 1}


class SeesItsNeighbours(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        return MethodOutput(logits + torch.linspace(0, 1, len(batch))[:, None, None, None])


class ReadsPadding(Toy):
    def sentence(self, batch: Batch) -> Tensor:
        return self.words(batch.tokens.ids).mean(1)


class NeedsWords(Toy):
    def sentence(self, batch: Batch) -> Tensor:
        inner = (batch.tokens.mask & (batch.tokens.ids > 2))[..., None].float()
        return (self.words(batch.tokens.ids) * inner).sum(1) / inner.sum(1)


class DropsAlways(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(functional.dropout(super().forward(batch).logits, 0.5, training=True))


class KeepsASecret(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits + self.shift)


class OnlyFloat32(Toy):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        buffer = torch.zeros(logits.shape)
        buffer[torch.arange(len(batch))] = logits  # refuses another type
        return MethodOutput(buffer)


class FreezesAll(Toy):
    def __init__(self) -> None:
        super().__init__()
        freeze(self)

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return []


class Counts(Method):
    """No parameter: it learns the mean mask, as BatchNorm learns a mean."""

    name: ClassVar[str] = "counts"
    Options: ClassVar[type[Any]] = Options

    def __init__(self) -> None:
        super().__init__()
        self.input_spec = InputSpec(image_size=(32, 32), tokenizer="tiny", max_tokens=16)
        self.register_buffer("total", torch.full((8, 8), 0.5))
        self.register_buffer("seen", torch.ones(()))

    def forward(self, batch: Batch) -> MethodOutput:
        size = (batch.images.shape[-2] // 4, batch.images.shape[-1] // 4)
        logits = torch.logit(self.total / self.seen, 1e-4).expand(len(batch), 1, -1, -1)
        if self.training:
            self.total += functional.adaptive_avg_pool2d(batch.masks.float(), 8).sum(0)
            self.seen += len(batch)
        return MethodOutput(functional.interpolate(logits, size=size))

    loss = Toy.loss


BROKEN = [
    (DoesNotBuild, "builds", "no such encoder"),
    (TwoChannels, "output shape at two image sizes", "(2, 2, 8, 8)"),
    (OneSizeOnly, "output shape at two image sizes", "(2, 1, 8, 8)"),
    (DeadWords, "gradients reach what trains, and nothing else", "words.weight"),
    (ThawsItself, "gradients reach what trains, and nothing else", "stem.weight"),
    (ForgetsAGroup, "frozen stays frozen, optimiser groups are complete", "left out"),
    (OptimisesTheFrozen, "frozen stays frozen, optimiser groups are complete", "stem.weight"),
    (MovesTheFrozen, "frozen stays frozen, optimiser groups are complete", "1 moved"),
    (LearnsBackwards, "loss falls on one batch", "loss -0."),
    (LearnsNothing, "loss falls on one batch", "1.0000 to 1.0000"),
    (FreezesAll, "loss falls on one batch", "Error"),
    (SeesItsNeighbours, "permuting the batch permutes the outputs", "difference"),
    (ReadsPadding, "padding tokens do not change logits", "difference"),
    (NeedsWords, "empty and over-long text work", "False"),
    (DropsAlways, "evaluation is deterministic", "difference"),
    (KeepsASecret, "save and load give identical logits", "difference"),
    (OnlyFloat32, "bf16 autocast runs", "Error"),
]


def test_a_sound_method_passes_every_check() -> None:
    size = sum(parameter.numel() for parameter in Toy().parameters())
    checks = run_checks(Subject(Toy, published={"base": (size, Toy)}))
    assert [check for check in checks if not check.passed] == []
    assert f"{size:,} built" in checks[-1].detail


def test_a_method_without_parameters_passes_if_it_learns_by_counting() -> None:
    assert [check for check in run_checks(Subject(Counts)) if not check.passed] == []


@pytest.mark.parametrize(("kind", "name", "detail"), BROKEN, ids=[kind.__name__ for kind, _, _ in BROKEN])
def test_each_check_fails_on_a_method_that_breaks_it(kind: type[Toy], name: str, detail: str) -> None:
    check = run_check(name, Subject(kind))
    assert not check.passed
    assert detail in check.detail


def test_size_two_percent_off_fails_and_one_percent_passes() -> None:
    size = sum(parameter.numel() for parameter in Toy().parameters())
    name = "size is the published one"
    assert not run_check(name, Subject(Toy, published={"base": (round(size * 1.03), Toy)})).passed
    assert run_check(name, Subject(Toy, published={"base": (round(size * 1.01), Toy)})).passed


def test_every_check_has_a_method_that_breaks_it() -> None:
    assert {name for _, name, _ in BROKEN} | {"size is the published one"} == set(CHECKS)


def test_card_excuses_parameters_without_a_gradient() -> None:
    name = "gradients reach what trains, and nothing else"
    assert run_check(name, Subject(DeadWords, no_gradient=("words.*",))).passed


def test_checks_leave_the_callers_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run_check("loss falls on one batch", Subject(Toy))
    assert torch.equal(torch.rand(1), expected)
