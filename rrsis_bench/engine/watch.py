"""Collects the training losses on the device, and reads them every few steps, so that most steps do not wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rrsis_bench.errors import UserError


@dataclass(frozen=True)
class Step:
    """One training step, kept to describe it in an error.

    Attributes:
        number: number of optimiser steps made before.
        sample_ids: ids of the batch's samples.
        losses: scalars on the device by name; `loss` is the weighted sum.
    """

    number: int
    sample_ids: tuple[str, ...]
    losses: Mapping[str, Tensor]


class LossWatch:
    """Collects training steps; `means` reads their losses from the device in one transfer."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(self, number: int, sample_ids: tuple[str, ...], losses: Mapping[str, Tensor]) -> None:
        """Add a step; its losses stay on the device."""
        detached = {name: loss.detach().float() for name, loss in losses.items()}
        self._steps.append(Step(number, sample_ids, detached))

    def means(self) -> dict[str, float]:
        """Mean of each loss since the last call; empty if there was no step.

        Raises:
            UserError: a loss is NaN or infinite; the message names the step, the losses, the samples and remedies.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return {}
        names = list(steps[-1].losses)
        table = torch.stack([torch.stack([step.losses[name] for name in names]) for step in steps]).cpu().tolist()
        for step, row in zip(steps, table, strict=True):
            if all(map(math.isfinite, row)):
                continue
            terms = ", ".join(f"{name}={value:g}" for name, value in zip(names, row, strict=True))
            raise UserError(
                f"the loss is not finite at step {step.number}: {terms}; samples {', '.join(step.sample_ids)}. "
                "Look at these samples (rrsis-bench data show), lower model.optimizer.lr, set "
                "trainer.gradient_clip_val or trainer.precision=32, then continue with --resume auto."
            )
        return {name: sum(row[k] for row in table) / len(table) for k, name in enumerate(names)}
