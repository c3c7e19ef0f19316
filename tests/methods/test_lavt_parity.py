"""LAVT against the outputs of the released network, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baselines.lavt import LAVT
from helpers.golden import FIXTURES
from helpers.official import check_golden, small_options

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden"


def build(options: dict[str, Any]) -> LAVT:
    return LAVT.from_options(small_options(options))


@pytest.mark.slow
def test_small_network_gives_the_released_outputs() -> None:
    check_golden(FIXTURES / "lavt_small_seed0.safetensors", "lavt", build)


@pytest.mark.parity
def test_published_network_gives_the_released_outputs() -> None:
    path = SHARED / "lavt_full_seed1.safetensors"
    if not path.is_file():
        pytest.skip(f"the full-size fixture {path.name} is not on this machine")
    check_golden(path, "lavt", build)
