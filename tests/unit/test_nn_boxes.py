"""Boxes: forms, overlaps, boxes of masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import generalized_box_iou

from rrsis_bench.nn.layers.boxes import boxes_of_masks, overlaps, to_cxcywh, to_xyxy


def random_boxes(count: int, seed: int) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat((corners.amin(1), corners.amax(1)), -1)


def test_forms_are_inverse() -> None:
    boxes = random_boxes(5, 0)
    torch.testing.assert_close(to_xyxy(to_cxcywh(boxes)), boxes)
    assert to_cxcywh(torch.tensor([0.0, 2.0, 4.0, 8.0])).tolist() == [2.0, 5.0, 4.0, 6.0]


def test_overlaps_are_torchvisions_but_for_the_epsilon() -> None:
    first, second = random_boxes(20, 0), random_boxes(20, 1)
    _, giou = overlaps(first, second)
    torch.testing.assert_close(giou, generalized_box_iou(first, second).diagonal(), atol=1e-3, rtol=0)
    assert overlaps(first, first)[0].tolist() == pytest.approx([1.0] * 20)


def test_the_box_of_a_mask_is_half_open() -> None:
    masks = torch.zeros(4, 6, 8, dtype=torch.uint8)
    masks[0, 1:4, 2:5] = 1
    masks[1, 5, 7] = 1
    masks[2] = 1
    boxes, valid = boxes_of_masks(masks)
    assert valid.tolist() == [True, True, True, False]
    expected = [[2 / 8, 1 / 6, 5 / 8, 4 / 6], [7 / 8, 5 / 6, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    torch.testing.assert_close(boxes, torch.tensor(expected))


def test_the_largest_component_alone() -> None:
    mask = np.zeros((1, 10, 10), np.uint8)
    mask[0, 0, 0] = 1
    mask[0, 4:8, 5:9] = 1
    mask[0, 8, 9] = 1  # touches by its corner
    hull, _ = boxes_of_masks(torch.from_numpy(mask))
    largest, _ = boxes_of_masks(torch.from_numpy(mask), "largest")
    assert hull[0].tolist() == pytest.approx([0, 0, 1, 0.9])
    assert largest[0].tolist() == pytest.approx([0.5, 0.4, 1, 0.9])
    empty, valid = boxes_of_masks(torch.zeros(1, 4, 4, dtype=torch.uint8), "largest")
    assert not valid.any()
    assert not empty.any()
