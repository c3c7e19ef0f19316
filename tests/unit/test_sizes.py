"""The bins of object size are the same in `data stats` and in the scores of parts."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rrsis_bench.data.sizes import SIZE_NAMES, size_bins


@pytest.mark.parametrize(
    ("share", "name"),
    [
        (Fraction(24, 10_000), "<0.25%"),
        (Fraction(25, 10_000), "0.25-1%"),
        (Fraction(1, 100), "1-4%"),
        (Fraction(4, 100), "4-16%"),
        (Fraction(16, 100), "4-16%"),
        (Fraction(16_001, 100_000), ">16%"),
        (Fraction(1), ">16%"),
    ],
)
def test_a_share_on_an_edge(share: Fraction, name: str) -> None:
    assert [SIZE_NAMES[size] for size in size_bins([float(share)])] == [name]
