from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrsis_bench.data.synthetic.drawing import COLOURS, SHAPES
from rrsis_bench.data.synthetic.scenes import PRETRAIN, draw_scene, sample_scenes, seed_range


@pytest.fixture(scope="module")
def many():
    return list(sample_scenes(range(250)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), size=st.sampled_from([96, 128, 200]))
def test_a_scene_is_a_pure_function_of_its_seed(seed, size):
    first, second = draw_scene(seed, size), draw_scene(seed, size)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.objects == second.objects
    assert first.image.shape == (size, size, 3)
    assert first.image.dtype == np.uint8


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_objects_do_not_overlap_and_lie_inside(seed):
    scene = draw_scene(seed)
    assert 3 <= len(scene.objects) <= 6
    assert sum(thing.mask.astype(int) for thing in scene.objects).max() == 1
    for thing in scene.objects:
        rows, columns = np.nonzero(thing.mask)
        assert thing.area == len(rows)
        assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert thing.centre == pytest.approx((columns.mean(), rows.mean()), abs=1e-6)
        assert thing.box[0] > 0
        assert thing.box[1] > 0
        assert thing.box[2] < 128
        assert thing.box[3] < 128


def test_every_category_colour_and_ground_occurs_about_equally(many):
    categories = Counter(thing.category for scene in many for thing in scene.objects)
    colours = Counter(thing.colour for scene in many for thing in scene.objects)
    assert len(SHAPES) >= 8
    assert set(categories) == set(SHAPES)
    assert min(categories.values()) > 0.5 * max(categories.values())
    assert set(colours) == set(COLOURS)
    assert min(colours.values()) > 0.7 * max(colours.values())
    assert len({scene.ground for scene in many}) == 4


def test_most_scenes_hold_two_of_a_kind(many):
    repeated = [max(Counter(thing.category for thing in scene.objects).values()) > 1 for scene in many]
    assert np.mean(repeated) >= 0.6


def test_sizes_are_spread_widely_and_nothing_is_tiny(many):
    areas = np.array([thing.area for scene in many for thing in scene.objects]) / 128**2
    assert areas.max() / areas.min() > 8
    assert areas.min() > 0.005
    shorter = [min(t.box[2] - t.box[0], t.box[3] - t.box[1]) for scene in many for t in scene.objects]
    assert min(shorter) >= 8


def test_colours_can_be_told_from_the_pixels(many):
    hits = total = 0
    for scene in many:
        for thing in scene.objects:
            if thing.category in {"bridge", "dam", "ship", "vehicle"}:
                median = np.median(scene.image[thing.mask > 0], axis=0)
                nearest = min(COLOURS, key=lambda name: np.abs(np.array(COLOURS[name]) - median).sum())
                hits, total = hits + (nearest == thing.colour), total + 1
    assert hits / total > 0.85


def test_seed_ranges_are_disjoint():
    ranges = [PRETRAIN, *(seed_range(split, seed) for seed in (0, 1, 7) for split in ("train", "val", "test"))]
    ordered = sorted(ranges, key=lambda r: r.start)
    assert all(first.stop <= second.start for first, second in itertools.pairwise(ordered))
