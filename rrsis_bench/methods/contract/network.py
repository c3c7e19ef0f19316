"""Checks of a method's network: its parameters and its saved state."""

from __future__ import annotations

import io

import torch

from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract.subject import Outcome, Subject, gap, random_batch, score
from rrsis_bench.types import InputSpec

PARAMETER_SHARE = 0.02  # allowed difference from the published number of parameters


def builds(subject: Subject) -> Outcome:
    """The method is a `Method`, has an input specification, and its `state_dict` is not empty."""
    method = subject.build()
    spec = method.input_spec
    names = [name for name, _ in method.named_parameters()]
    known = isinstance(method, Method) and isinstance(spec, InputSpec) and bool(method.state_dict())
    return known, f"{len(names)} parameters, input {spec.image_size[0]}x{spec.image_size[1]}, {spec.max_tokens} tokens"


def reloads(subject: Subject) -> Outcome:
    """Another instance that loads the saved state gives the same logits."""
    method = subject.seeded(0)
    batch = random_batch(method.input_spec)
    method.train()(batch)  # changes running statistics, so that the check covers them
    stored = io.BytesIO()
    torch.save(method.state_dict(), stored)
    stored.seek(0)
    again = subject.seeded(1)
    again.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    largest, _ = gap(score(method, batch), score(again, batch))
    return largest == 0, f"largest difference {largest:.1e}"


def has_published_size(subject: Subject) -> Outcome:
    """Each variant has the number of parameters that the card states, within `PARAMETER_SHARE`."""
    if not subject.published:
        return True, "the card gives no published number of parameters"
    good, seen = True, []
    for variant, (expected, build) in subject.published.items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build().parameters())
        good &= abs(count - expected) <= PARAMETER_SHARE * expected
        seen.append(f"{variant}: {count:,} built, {expected:,} published")
    return good, "; ".join(seen)
