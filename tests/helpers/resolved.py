"""The configuration that names resolve to."""

from __future__ import annotations

from typing import Any

from rrsis_bench.config import Config
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve


def configured(method: str, dataset: str = "tiny", variant: str | None = None, **choices: Any) -> Config:
    """The configuration of `fit --method ... --dataset ... --variant ...`.

    Args:
        method: registry name.
        dataset: data set by name.
        variant: of the method.
        choices: further fields of the request.
    """
    return resolve(RunRequest(method, dataset, variant, **choices)).config
