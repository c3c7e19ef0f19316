"""Boxes of expressions."""

from __future__ import annotations

import torch

from rrsis_bench.nn.promptable import FoundBoxes


def test_best_box_has_the_highest_score_and_the_first_of_equal_ones() -> None:
    boxes = torch.arange(24.0).reshape(2, 3, 4)
    scores = torch.tensor([[0.1, 0.9, 0.9], [float("-inf"), float("-inf"), 0.0]])
    assert torch.equal(FoundBoxes(boxes, scores).best(), torch.stack((boxes[0, 1], boxes[1, 2])))
