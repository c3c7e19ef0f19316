"""Every registered method, trained for a moment on the tiny split, against its golden file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers.regression import FIRST, GOLDEN, STEPS, measure_score, measure_start
from rrsis_bench.registry import BUILT_IN

pytestmark = pytest.mark.slow

# One of frozen encoders and one of the family. `make test-training` runs the others.
EVERY_TIME = ("lavt", "s4eca")


def golden_of(method: str) -> dict[str, Any]:
    path = GOLDEN / f"{method}.json"
    assert path.is_file(), f"{method} has no golden file: make regression-update"
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return golden


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_first_losses_and_the_logits_afterwards(method: str) -> None:
    golden, measured = golden_of(method), measure_start(method)
    assert len(measured["losses"]) == FIRST
    assert measured["losses"] == pytest.approx(golden["losses"], rel=1e-3)
    spread = golden["logits"]["std"]
    assert measured["logits"] == pytest.approx(golden["logits"], abs=1e-2 * spread, rel=0)


@pytest.mark.parametrize(
    "method", [name if name in EVERY_TIME else pytest.param(name, marks=pytest.mark.training) for name in sorted(STEPS)]
)
def test_score_of_a_training(method: str) -> None:
    golden = golden_of(method)
    assert golden["steps"] == STEPS[method], "the golden file is of another length: make regression-update"
    assert measure_score(method) >= golden["oiou"] - 0.05
