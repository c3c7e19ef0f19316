"""Exact nearest: PIL's rule at every pair of sizes, for numpy and torch, and no other rule anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rrsis_bench.nearest import nearest_index, resize_mask
from rrsis_bench.nn.layers.losses import reduce_mask
from rrsis_bench.nn.layers.nearest import resize_masks

ROOT = Path(__file__).resolve().parents[2]
COMMON = (16, 60, 64, 120, 128, 224, 256, 320, 384, 448, 480, 512, 640, 800, 896, 1024)


def pil(mask, size):
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


@pytest.mark.parametrize("target", [*range(1, 66), *COMMON])
def test_every_pair_of_sizes_is_pils(target):
    for source in [*range(1, 130), *COMMON]:
        line = np.arange(source, dtype=np.int32)[None]
        expected = pil(line, (1, target))[0]
        assert np.array_equal(nearest_index(source, target), expected), (source, target)


@pytest.mark.parametrize("target", [480, 128])
def test_every_source_up_to_1024_is_pils(target):
    for source in range(1, 1025):
        expected = pil(np.arange(source, dtype=np.int32)[None], (1, target))[0]
        assert np.array_equal(nearest_index(source, target), expected), source


@pytest.mark.parametrize(
    ("native", "size"),
    [
        ((512, 300), (480, 480)),
        ((513, 700), (480, 480)),
        ((37, 64), (100, 90)),
        ((99, 800), (37, 1)),
        ((5, 9), (5, 9)),
    ],
)
def test_numpy_and_torch_give_pils_mask(native, size):
    mask = (np.random.default_rng(0).random(native) > 0.5).astype(np.uint8)
    expected = pil(mask, size)
    ours = resize_mask(mask, size)
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    assert np.array_equal(ours, expected)
    assert np.array_equal(resize_mask(np.asfortranarray(mask), size), expected)
    stacked = torch.from_numpy(mask).repeat(2, 1, 1)
    for done in (resize_masks(stacked, size), resize_masks(stacked != 0, size), reduce_mask(stacked, size)[:, 0]):
        assert np.array_equal(done[1].numpy(), expected)


def test_torchs_own_rule_is_another():
    """The trap is a real one: a mask resized by torch's rule differs where a centre falls on a border of pixels."""
    line = torch.arange(512, dtype=torch.float32)[None, None]
    theirs = torch.nn.functional.interpolate(line, 480, mode="nearest-exact")[0, 0]
    assert not np.array_equal(theirs.numpy(), nearest_index(512, 480))


def test_a_mask_of_the_right_size_is_returned_itself():
    mask = np.ones((3, 4), np.uint8)
    assert resize_mask(mask, (3, 4)) is mask
    masks = torch.from_numpy(mask)[None]
    assert resize_masks(masks, (3, 4)) is masks


def test_indices_first_made_in_inference_mode_serve_training():
    masks = torch.ones(1, 11, 13, dtype=torch.uint8)
    with torch.inference_mode():
        resize_masks(masks, (7, 5))
    logits = torch.zeros(1, 1, 7, 5, requires_grad=True)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, reduce_mask(masks, (7, 5))).backward()
    assert (logits.grad != 0).all()
    weights = torch.ones(1, 11, 13, requires_grad=True)
    resize_masks(weights, (7, 5)).sum().backward()  # keeps the index for the backward pass
    assert weights.grad.sum() == 35


def test_no_other_file_resizes_by_nearest():
    """Another nearest than this one would be another pixel; plain loops of benchmarks imitate others on purpose."""
    rule = re.compile(r"nearest-exact\"|INTER_NEAREST|Resampling\.NEAREST|mode=\"nearest")
    found = [
        str(path.relative_to(ROOT))
        for folder in ("rrsis_bench", "baselines", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if rule.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
