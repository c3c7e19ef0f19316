"""Every registered method, trained for a moment on the tiny split, against its golden file."""

from __future__ import annotations

import json

import pytest

from helpers.regression import GOLDEN, LOSSES_ONLY, measure
from rrsis_bench.registry import BUILT_IN

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_losses_and_score(method: str) -> None:
    path = GOLDEN / f"{method}.json"
    assert path.is_file(), f"{method} has no golden file: make regression-update"
    golden = json.loads(path.read_text(encoding="utf-8"))
    measured = measure(method)
    assert measured["steps"] == golden["steps"], "the golden file is of another length: make regression-update"
    assert len(measured["losses"]) == 5
    assert measured["losses"] == pytest.approx(golden["losses"], rel=1e-3)
    assert (measured["oiou"] is None) == (method in LOSSES_ONLY)
    assert measured["oiou"] is None or measured["oiou"] >= golden["oiou"] - 0.05
