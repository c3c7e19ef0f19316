"""The expression of a mirrored image: the four rules of `data.mirror`, and their effect on a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrsis_bench.data.mirror import flip_text
from rrsis_bench.data.transforms import Augment, Augmenter

EXPRESSIONS = (Path(__file__).parents[1] / "fixtures/risbench/expressions.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the ship on the left", "the ship on the right"),
        ("Left ship, RIGHT ship", "Right ship, LEFT ship"),
        ("the small plane at the top-left corner", "the small plane at the top-right corner"),
        ("the leftmost car on the right-hand side", "the rightmost car on the left-hand side"),
        ("the upperright tank", "the upperleft tank"),
        ("the ship on the right next to the harbor", "the ship on the left next to the harbor"),
        (
            "The train station positioned at the right in the image.",
            "The train station positioned at the left in the image.",
        ),
        ("the ship that is left of the pier", "the ship that is right of the pier"),
        ("the third tank from the left", "the third tank from the right"),
        ("Left, left and right.", "Right, right and left."),
        ("", ""),
    ],
)
def test_left_and_right_change_places(before, after):
    assert flip_text(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("the ship in the west", "the ship in the east"),
        ("the north-west corner", "the north-east corner"),
        ("the Southwestern part", "the Southeastern part"),
        ("the easternmost pier, NORTHEAST of the dam", "the westernmost pier, NORTHWEST of the dam"),
        ("the westbound lane on the left", "the eastbound lane on the right"),
        ("the northern ship", "the northern ship"),
    ],
)
def test_west_and_east_change_places(before, after):
    assert flip_text(before) == after


@pytest.mark.parametrize(
    "expression",
    [
        "the ship right next to the harbor",
        "the ship right-next-to the harbor",
        "the right-angled building",
        "the road that turns at a right angle",
        "the field like a right triangle beside the right-of-way",
        "a bright ship of the copyright office, cleft",
        "the lowest, newest and brightest tank, at least",
        "the second largest ship",
    ],
)
def test_what_is_no_side_stays(expression):
    assert flip_text(expression) == expression


@pytest.mark.parametrize(
    "expression",
    [
        "the ship that has left the harbor",
        "the one that is left",
        "the ship left by the pier",
        "the ship left next to the pier",
        "the left angle of the roof",
        "the car right in the middle",
        "the road turning right at the bridge",
        "the car parked clockwise of the pier",
        "the tank at 3 o'clock",
        "the ship on the starboard side",
        "the ship in the NW corner",
        "the pier at the E edge",
        "the third car in the row",
        "the last tank",
        "the western-style house",
        "the leftover boat",
        "the midwestern field",
        "le bateau à gauche",
        "左边的船",
    ],
)
def test_what_cannot_be_mirrored_surely_is_not_mirrored(expression):
    assert flip_text(expression) is None
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    mask = np.eye(2, 4, dtype=np.uint8)
    shown = Augmenter(Augment(flip=1.0))(image, mask, expression, False, np.random.default_rng(0))
    assert shown == (image, mask, expression)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_mirroring_real_wording_twice_gives_it_back(expression):
    flipped = flip_text(expression)
    assert flipped is not None
    assert flip_text(flipped) == expression


PARTS = ("left", "Right", "-", " ", "west", "the", "most", "of", "in", "bright", "angle", "next to", "is", "last")


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_mirroring_never_fails_and_is_its_own_inverse(value):
    flipped = flip_text(value)
    assert flipped is None or flip_text(flipped) == value
