"""Batches per optimiser step, from the global batch that a recipe asks for."""

from __future__ import annotations

from typing import Any

import pytest

from rrsis_bench.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "expected"), [((8, None, 2, 3), 3), ((8, 32, 1, 1), 4), ((8, 32, 4, 1), 1), ((4, 32, 2, 4), 4)]
)
def test_accumulation_to_the_global_batch(arguments: tuple[Any, ...], expected: int) -> None:
    from rrsis_bench.engine.trainer import accumulation

    assert accumulation(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((5, 32, 1, 1), "data.batch_size=4"), ((8, 32, 8, 1), "data.batch_size=4"), ((8, 32, 1, 2), "contradict"),
     ((1, 2, 4, 1), "fewer devices")],
)  # fmt: skip
def test_a_global_batch_that_does_not_divide(arguments: tuple[Any, ...], words: str) -> None:
    from rrsis_bench.engine.trainer import accumulation

    with pytest.raises(UsageError, match=words):
        accumulation(*arguments)
