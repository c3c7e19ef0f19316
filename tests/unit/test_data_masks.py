from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from rrsis_bench.data import masks

SAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures/risbench/samples.jsonl").read_text(encoding="utf-8").splitlines()
]


@given(arrays(np.uint8, st.tuples(st.integers(1, 17), st.integers(1, 17)), elements=st.integers(0, 1)))
def test_encode_decode_area_agree(mask):
    rle = masks.encode(mask)
    assert np.array_equal(masks.decode(rle), mask)
    assert masks.area(rle) == int(mask.sum())
    assert masks.runs(rle).sum() == mask.size


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["sample_id"])
def test_real_rles(sample):
    mask = masks.decode(sample["rle"])
    assert mask.shape == (512, 512)
    assert masks.area(sample["rle"]) == int(mask.sum()) > 0
    assert masks.encode(mask) == sample["rle"]


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [64, 64], "counts": ""},
        {"size": [64, 64], "counts": "not an RLE!"},
        {"size": [64, 64], "counts": "zzzz"},
        {"size": [64, 64], "counts": "Ω"},
        {"size": [64, 64], "counts": "o" * 40 + "0"},
        {"size": [64], "counts": "P4"},
        {"size": [-1, 64], "counts": "P4"},
        {"size": [64.5, 64], "counts": "P4"},
        {"counts": "P4"},
        {"size": [512, 512], "counts": SAMPLES[0]["rle"]["counts"][:-3]},
        {"size": [500, 512], "counts": SAMPLES[0]["rle"]["counts"]},
    ],
)
def test_a_damaged_rle_is_refused(rle):
    with pytest.raises(masks.MaskError):
        masks.decode(rle)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_any_string_decodes_or_is_refused(counts):
    try:
        mask = masks.decode({"size": [9, 7], "counts": counts})
    except masks.MaskError:
        return
    assert mask.shape == (9, 7)
    assert set(np.unique(mask)) <= {0, 1}


def test_all_forms_of_segmentation_give_one_mask():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 1
    rle = masks.encode(mask)
    lengths = masks.runs(rle).tolist()
    box = [10, 5, 20, 5, 20, 15, 10, 15]
    forms = [
        rle,
        [rle],
        {"size": [20, 30], "counts": rle["counts"].encode()},
        {"size": [20, 30], "counts": lengths},
        [{"size": [20, 30], "counts": lengths}],
        [box],
        box,
    ]
    for form in forms:
        assert np.array_equal(masks.decode(masks.canonical(form, 20, 30)), mask), form


def test_overlapping_parts_are_a_union():
    """The released loaders keep only pixels whose sum over parts is 1: overlaps would turn into background."""
    first, second = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    first[:6], second[4:] = 1, 1
    union = masks.canonical([masks.encode(first), masks.encode(second)], 10, 10)
    assert masks.area(union) == 100
    polygons = [[0, 0, 6, 0, 6, 6, 0, 6], [3, 3, 9, 3, 9, 9, 3, 9]]
    assert masks.area(masks.canonical(polygons, 10, 10)) == 36 + 36 - 9


@pytest.mark.parametrize(
    "segmentation",
    [None, [], "P4", [[1, 2, 3]], [[1, 2, float("nan"), 4, 5, 6]], [{}], {"size": [2, 2], "counts": [9]}, [[]]],
)
def test_no_known_form(segmentation):
    with pytest.raises(masks.MaskError):
        masks.canonical(segmentation, 10, 10)


def test_decoding_agrees_with_pycocotools():
    rng = np.random.default_rng(0)
    for height, width, share in ((33, 47, 0.5), (5, 1, 0.5), (1, 6, 0.9), (8, 3, 0.0), (8, 3, 1.0)):
        mask = (rng.random((height, width)) < share).astype(np.uint8)
        rle = masks.encode(mask)
        assert np.array_equal(coco_mask.decode(rle), mask)
        assert np.array_equal(masks.decode(rle), mask)
