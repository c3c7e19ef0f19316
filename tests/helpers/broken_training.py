"""Methods that break the contract in their training, each in one way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.sound import Options, Sound
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.types import Batch, MethodOutput


class DeadWords(Sound):
    def sentence(self, batch: Batch) -> Tensor:
        return super().sentence(batch).detach()


class ThawsItself(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        self.stem.requires_grad_(True)
        return super().forward(batch)


class ForgetsAGroup(Sound):
    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.head.parameters()), "lr": base_lr}]


class OptimisesTheFrozen(Sound):
    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": base_lr}]


class MovesTheFrozen(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        with torch.no_grad():
            self.stem.weight.mul_(0.999)
        return super().forward(batch)


class LearnsBackwards(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": -super().loss(output, batch)["bce"]}


class LearnsNothing(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": 0 * super().loss(output, batch)["bce"] + 1}


class OnlyFloat32(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        buffer = torch.zeros(logits.shape)
        buffer[torch.arange(len(batch))] = logits  # refuses another type
        return MethodOutput(buffer)


class FreezesAll(Sound):
    def __init__(self) -> None:
        super().__init__()
        freeze(self)

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return []


# --- losses -----------------------------------------------------------------------------------------------------------


class OneLossPerSample(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        target = functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:])
        losses = functional.binary_cross_entropy_with_logits(output.logits.float(), target, reduction="none")
        return {"bce": losses.mean((1, 2, 3))}


class NamesNoLoss(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {}


class ReturnsABareLoss(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return super().loss(output, batch)["bce"]  # type: ignore[return-value]


class ReturnsAPlainNumber(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": float(super().loss(output, batch)["bce"].detach())}  # type: ignore[dict-item]


class LossIsNoNumber(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": super().loss(output, batch)["bce"] * float("nan")}


class LossNeedsAReferent(Sound):
    """Divides by the area of the truth, which is 0 if a small referent vanishes."""

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": super().loss(output, batch)["bce"] / batch.masks.float().mean()}


class LossWithoutGradient(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {**super().loss(output, batch), "mean": output.logits.detach().mean()}


class LossElsewhere(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        losses = super().loss(output, batch)
        return {**losses, "extra": losses["bce"].to("meta")}


class RenamesItsLosses(Sound):
    def progress(self, epochs: float) -> None:
        self.late = epochs >= 1

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"late" if self.late else "early": super().loss(output, batch)["bce"]}


class WatchesAMap(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        return MethodOutput(logits, {"watched": {"map": logits.detach()}})


class WatchesNowAndThen(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        return MethodOutput(logits, {"watched": {"low": logits.detach().min()}} if batch.masks.any() else {})


class RecomputesAnother(Sound):
    def checkpoint_activations(self) -> None:
        self.norm = nn.Identity()


class CalibratesAway(Sound):
    def calibrate(self, batches: Iterable[Batch]) -> None:
        self.head.bias += torch.inf


LOSSES = "losses are scalars"
GPU = "runs on a GPU without waiting for it"


class ReadsAValue(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        longest = int(batch.tokens.mask.sum(1).max())
        short = replace(batch.tokens, ids=batch.tokens.ids[:, :longest], mask=batch.tokens.mask[:, :longest])
        return super().forward(replace(batch, tokens=short))


class CopiesAList(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        return {"bce": super().loss(output, batch)["bce"] * output.logits.new_tensor([0.5, 0.5]).sum()}


class FetchesItsLogits(Sound):
    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        self.seen = output.logits.detach().cpu()
        return super().loss(output, batch)


class ForgetsToMove(Sound):
    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        with torch.device("cpu"):
            self.scale = torch.ones(8)

    def sentence(self, batch: Batch) -> Tensor:
        return super().sentence(batch) * self.scale


BROKEN: list[tuple[type[Method], str, str]] = [
    (OneLossPerSample, LOSSES, "'bce' has shape (4,)"),
    (NamesNoLoss, LOSSES, "loss returns no loss; name at least one"),
    (ReturnsABareLoss, LOSSES, "loss returns Tensor"),
    (ReturnsAPlainNumber, LOSSES, "'bce' is float, not a tensor"),
    (LossIsNoNumber, LOSSES, "'bce' is nan"),
    (LossNeedsAReferent, LOSSES, "'bce' is inf"),
    (
        LossWithoutGradient,
        LOSSES,
        "'mean' has no gradient; what is only to be logged belongs under aux['watched']",
    ),
    (LossElsewhere, LOSSES, "'extra' is on meta"),
    (RenamesItsLosses, LOSSES, "names change between steps: ['early'], then ['late']"),
    (WatchesAMap, LOSSES, "'map' has shape (4, 1, 8, 8)"),
    (WatchesNowAndThen, LOSSES, "names change between steps: ['bce', 'low'], then ['bce']"),
    (DeadWords, "gradients reach what trains, and nothing else", "words.weight"),
    (ThawsItself, "gradients reach what trains, and nothing else", "stem.weight"),
    (ForgetsAGroup, "frozen stays frozen, optimiser groups are complete", "left out"),
    (OptimisesTheFrozen, "frozen stays frozen, optimiser groups are complete", "stem.weight"),
    (MovesTheFrozen, "frozen stays frozen, optimiser groups are complete", "1 moved"),
    (LearnsBackwards, "loss falls on one batch", "loss -0."),
    (LearnsNothing, "loss falls on one batch", "1.0000 to 1.0000"),
    (FreezesAll, "loss falls on one batch", "Error"),
    (RecomputesAnother, "activations computed again give the same gradients", "gradients of other parameters: ['norm."),
    (CalibratesAway, "calibration takes batches of val", "logits that are NaN or infinite"),
    (OnlyFloat32, "bf16 autocast runs", "Error"),
    (ReadsAValue, GPU, "the host waits for a value"),
    (CopiesAList, GPU, "a blocking copy of shape (2,) from cpu to cuda:0"),
    (FetchesItsLogits, GPU, "a blocking copy of shape (4, 1, 8, 8) from cuda:0 to cpu"),
    (ForgetsToMove, GPU, "neither a parameter nor a buffer"),
]
"""Method, the check that it breaks, and a part of the check's message."""
