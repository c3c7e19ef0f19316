from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.referee import Seen, meant
from rrsis_bench.data.synthetic.grammar import (
    KINDS,
    Thing,
    at_position,
    candidates,
    expressions,
    in_direction,
    next_to,
    vocabulary,
)
from rrsis_bench.data.synthetic.scenes import draw_scene, sample_scenes


def box_thing(category, colour, x0, y0, x1, y1, maybe=()):
    outline = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
    area, centre = float((x1 - x0) * (y1 - y0)), ((x0 + x1) / 2, (y0 + y1) / 2)
    return Thing(category, colour, area, (x0, y0, x1, y1), centre, frozenset(maybe), outline)


class Boxes:
    def __init__(self, *objects, size=(100, 100)):
        self.objects, self.size = objects, size


def seen(scene):
    return [Seen(thing.category, frozenset({thing.colour}), thing.mask) for thing in scene.objects]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_every_expression_fits_its_object_alone_in_a_second_opinion(seed):
    scene = draw_scene(seed)
    judged = seen(scene)
    for index in range(len(scene.objects)):
        for expression in candidates(scene, index):
            assert meant(expression.text, judged) == [index], expression.text


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_borderline_colours_never_make_an_expression_ambiguous(data):
    things = []
    for _ in range(data.draw(st.integers(2, 6))):
        x, y = data.draw(st.integers(0, 85)), data.draw(st.integers(0, 85))
        colour = data.draw(st.sampled_from([None, "white", "grey"]))
        maybe = data.draw(st.sets(st.sampled_from(["white", "grey", "blue"]))) - {colour}
        side = data.draw(st.integers(4, 14))
        things.append(box_thing(data.draw(st.sampled_from(["roof", "pool"])), colour, x, y, x + side, y + side, maybe))
    judged = []
    for thing in things:
        mask = np.zeros((100, 100), np.uint8)
        mask[int(thing.box[1]) : int(thing.box[3]), int(thing.box[0]) : int(thing.box[2])] = 1
        judged.append(Seen(thing.category, thing.maybe | ({thing.colour} - {None}), mask))
    for index in range(len(things)):
        for expression in candidates(Boxes(*things), index):
            assert meant(expression.text, judged) == [index], expression.text


def test_a_rival_that_might_be_red_forbids_the_red_one():
    red, doubtful = box_thing("car", "red", 5, 5, 15, 15), box_thing("car", None, 60, 60, 70, 70, {"red"})
    said = [expression.text for expression in candidates(Boxes(red, doubtful), 0)]
    assert "the red car" not in said
    assert "the red car on the left" in said
    clear = box_thing("car", "blue", 60, 60, 70, 70)
    assert "the red car" in [expression.text for expression in candidates(Boxes(red, clear), 0)]


def test_size_needs_a_clear_ratio():
    large, close, small = (box_thing("tank", "white", x, 40, x + s, 40 + s) for x, s in ((0, 20), (40, 18), (70, 10)))
    assert not [e for e in candidates(Boxes(large, close, small), 0) if e.kind == "size"]
    assert "the largest tank" in [e.text for e in candidates(Boxes(large, small), 0)]
    assert "the smallest tank" in [e.text for e in candidates(Boxes(large, close, small), 2)]


@pytest.mark.parametrize(("x", "truth"), [(0.2, True), (0.4, None), (0.6, False)])
def test_position_has_a_doubtful_zone(x, truth):
    thing = box_thing("tank", "white", x * 100 - 2, 48, x * 100 + 2, 52)
    assert at_position(thing, (-1, 0), (100, 100)) is truth


def test_relations():
    anchor = box_thing("pool", "blue", 45, 45, 55, 55)
    above, diagonal, beside = (
        box_thing("car", "red", 45, 10, 55, 20),
        box_thing("car", "red", 75, 20, 85, 30),
        box_thing("car", "red", 57, 45, 67, 55),
    )
    assert in_direction(above, anchor, 1, -1) is True
    assert in_direction(above, anchor, 1, 1) is False
    assert in_direction(diagonal, anchor, 1, -1) is None
    assert in_direction(beside, anchor, 0, 1) is True
    assert next_to(beside, anchor, (100, 100)) is True
    assert next_to(above, anchor, (100, 100)) is False
    said = [e.text for e in candidates(Boxes(above, beside, anchor), 1)]
    assert "the car next to the pool" in said
    assert "the car to the right of the pool" in said


@pytest.mark.slow
def test_wordings_kinds_and_referents_are_varied():
    scenes = list(sample_scenes(range(1000, 1300)))
    found = [(scene, e) for scene in scenes for e in expressions(scene, np.random.default_rng(scene.seed))]
    assert len({e.text for _, e in found}) >= 200
    assert {e.kind for _, e in found} == set(KINDS)
    covered = len(found) / sum(len(scene.objects) for scene in scenes)
    assert covered > 0.9
    spoken = {word for _, e in found for word in e.text.split()}
    assert spoken <= set(vocabulary())
    kinds = Counter(e.kind for _, e in found)
    assert max(kinds.values()) < 0.45 * len(found)


def test_expressions_are_deterministic_and_respect_eligibility():
    scene = draw_scene(77)
    twice = [expressions(scene, np.random.default_rng(5), 2, [0, 2]) for _ in range(2)]
    assert twice[0] == twice[1]
    assert {expression.index for expression in twice[0]} <= {0, 2}
    for index in (0, 2):
        own = [expression.kind for expression in twice[0] if expression.index == index]
        assert len(own) == len(set(own)) <= 2


def test_vocabulary_is_lower_case_sorted_and_whole():
    known = vocabulary()
    assert known == sorted(set(known))
    assert {"the", "storage", "tank", "leftmost", "upper", "white", "next", "of"} <= set(known)
