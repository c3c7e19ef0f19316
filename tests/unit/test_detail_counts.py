"""The integers of `--detail` against naive references: numpy pixel by pixel, and the published boundary code."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.batches import make_batch
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.detail import BINS, COLUMNS
from rrsis_bench.metrics.detail_counts import ImageInstances, boundary, count_detail, histogram
from rrsis_bench.metrics.protocols import NATIVE

SIZES = [(20, 31), (64, 48), (20, 31), (33, 33)]


def batch_of(truths):
    """A batch with these native truths (Hm, Wm)."""
    height, width = (max(truth.shape[axis] for truth in truths) for axis in (0, 1))
    padded = torch.zeros(len(truths), height, width, dtype=torch.uint8)
    for row, truth in enumerate(truths):
        padded[row, : truth.shape[0], : truth.shape[1]] = torch.from_numpy(truth.astype(np.uint8))
    return replace(make_batch([truth.shape for truth in truths]), truths=padded)


def blob(rng, size, empty=False):
    """A rectangle with holes, or an empty mask."""
    mask = np.zeros(size, bool)
    if not empty:
        top, left = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        mask[top : top + rng.integers(3, 30), left : left + rng.integers(3, 30)] = True
        mask &= rng.random(size) > 0.02
    return mask


def published_boundary(mask):
    """The boundary as the authors of Boundary IoU release it (their `mask_to_boundary`, in words of ours)."""
    height, width = mask.shape
    steps = max(1, round(0.02 * math.sqrt(height**2 + width**2)))
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=steps)[1:-1, 1:-1]
    return mask & (inner == 0)


def naive(logits, truth, others, same):
    """All columns of one sample, by name."""
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    pred = logits > 0
    hist = np.zeros((2, BINS), int)
    for inside, p, positive in zip(truth.ravel(), probability.ravel(), pred.ravel(), strict=True):
        k = min(max(math.ceil(p * BINS) - 1, BINS // 2 if positive else 0), BINS - 1 if positive else BINS // 2 - 1)
        hist[int(inside), k] += 1

    def box(mask):
        found = np.zeros(mask.shape, bool)
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return found

    real = [k for k, other in enumerate(others) if 2 * (other & truth).sum() < (other | truth).sum()]
    inters = {k: int((others[k] & pred).sum()) for k in real}
    most = max(inters, key=lambda k: inters[k], default=None)
    unions = [
        np.any([others[k] for k in real if same[k] == wanted] or [np.zeros(truth.shape, bool)], axis=0)
        for wanted in (True, False)
    ]
    boxes, edges = (box(pred), box(truth)), (published_boundary(pred), published_boundary(truth))
    beyond = [(int((others[k] & pred & ~truth).sum()), int((others[k] & ~truth).sum())) for k in real]
    return {
        "peak_hit": int(truth.ravel()[logits.ravel().argmax()]),
        "box_inter": int((boxes[0] & boxes[1]).sum()),
        "box_union": int((boxes[0] | boxes[1]).sum()),
        "edge_inter": int((edges[0] & edges[1]).sum()),
        "edge_union": int((edges[0] | edges[1]).sum()),
        "n_other": len(real),
        "other_same": int((unions[0] & pred & ~truth).sum()),
        "other_else": int((unions[1] & pred & ~truth).sum()),
        "other_most": 0 if most is None else inters[most],
        "other_area": 0 if most is None else int(others[most].sum()),
        "other_covered": sum(2 * part > whole for part, whole in beyond),
        **{f"outside{k:02d}": hist[0, k] for k in range(BINS)},
        **{f"inside{k:02d}": hist[1, k] for k in range(BINS)},
    }


def test_every_integer_is_the_naive_one_and_bins_add_up_to_areas():
    rng = np.random.default_rng(0)
    truths = [blob(rng, size, empty=k == 3) for k, size in enumerate(SIZES)]
    batch = batch_of(truths)
    logits = torch.from_numpy(rng.normal(-1, 2, (4, 1, 16, 16)).astype(np.float32))
    logits[1] = -5.0  # nothing is predicted, and every pixel is the most probable one
    others = [np.stack([truths[0], truths[2], *(blob(rng, SIZES[0]) for _ in range(4)), np.zeros(SIZES[0], bool)])]
    others.append(np.stack([blob(rng, SIZES[1]) for _ in range(2)]))
    same = [rng.random((2, 7)) > 0.5, rng.random((1, 2)) > 0.5]
    instances = [
        ImageInstances(rows, torch.from_numpy(masks), torch.from_numpy(kinds))
        for rows, masks, kinds in zip(([0, 2], [1]), others, same, strict=True)
    ]
    found = count_detail(logits, batch, instances)
    assert (found.dtype, tuple(found.shape)) == (torch.int64, (4, len(COLUMNS)))
    areas = count(logits, batch, (16, 16), [NATIVE])[:, 0].numpy()
    here = {0: (others[0], same[0][0]), 2: (others[0], same[0][1]), 1: (others[1], same[1][0]), 3: ([], [])}
    for row, size in enumerate(SIZES):
        native = torch.nn.functional.interpolate(logits[row : row + 1], size=size, mode="bilinear")[0, 0].numpy()
        expected = naive(native, truths[row], *here[row])
        assert dict(zip(COLUMNS, found[row].tolist(), strict=True)) == expected, row
        outside, inside = found[row, -2 * BINS : -BINS], found[row, -BINS:]
        inter = inside[BINS // 2 :].sum()
        assert [inside.sum(), outside[BINS // 2 :].sum() + inter, inter] == areas[row].tolist()
        assert outside.sum() + inside.sum() == size[0] * size[1]
    assert found[:, COLUMNS.index("n_other")].max() > 1
    assert found[:, COLUMNS.index("other_covered")].max() > 0, "the case must be able to fail"


def test_autocast_does_not_round_the_counts():
    rng = np.random.default_rng(1)
    truth, other = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    truth[:5, :5] = True
    other[0, :3] = False
    batch = batch_of([truth])
    instances = [ImageInstances([0], torch.from_numpy(np.stack([other])), torch.ones(1, 1, dtype=torch.bool))]
    logits = torch.full((1, 1, 64, 64), 3.0) + torch.from_numpy(rng.random((1, 1, 64, 64)))
    with torch.autocast("cpu", torch.bfloat16):
        found = dict(zip(COLUMNS, count_detail(logits, batch, instances)[0].tolist(), strict=True))
    assert (found["other_most"], found["other_area"], found["other_same"]) == (4093, 4093, 4096 - 25)


def test_bins_end_where_masks_do():
    """A logit of 0 is background; the smallest positive one is foreground, though its probability rounds to 0.5."""
    logits = torch.tensor([[[0.0, 1e-30, -1e-30, float(torch.logit(torch.tensor(0.975))), 90.0, -200.0]]])
    found = histogram(logits, torch.tensor([[[True, True, False, False, True, False]]]))[0]
    outside, inside = found[:BINS].nonzero().flatten().tolist(), found[BINS:].nonzero().flatten().tolist()
    assert (outside, inside) == ([0, 9, 19], [9, 10, 19])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**16))
def test_boundary_is_the_published_one(height, width, seed):
    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.random((5, 5)).astype(np.float32), (width, height)) > rng.uniform(0.2, 0.8)
    mask[rng.random(mask.shape) < 0.01] = False
    found = boundary(torch.from_numpy(np.stack([mask, np.ones_like(mask)]))).numpy()
    np.testing.assert_array_equal(found[0], published_boundary(mask))
    np.testing.assert_array_equal(found[1], published_boundary(np.ones_like(mask)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision(dtype):
    batch = batch_of([np.ones((8, 8), bool)])
    found = count_detail(torch.ones(1, 1, 8, 8, dtype=dtype), batch, [])
    assert found[0, -BINS:].sum() == 64
