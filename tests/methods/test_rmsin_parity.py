"""RMSIN against the outputs of the released network, in float64."""

from __future__ import annotations

import pytest

from baselines.rmsin import RMSIN
from tests.helpers.golden import FIXTURES
from tests.helpers.official import check_golden, small_options


@pytest.mark.slow
def test_small_network_gives_the_released_outputs() -> None:
    check_golden(
        FIXTURES / "rmsin_small_seed0.safetensors",
        "rmsin",
        lambda options: RMSIN.from_options(small_options(options)),
    )
