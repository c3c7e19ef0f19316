"""Boxes of methods in evaluation: their score, and their place in an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.batches import make_batch
from helpers.sound import Sound
from rrsis_bench.engine.boxes import box_scores, in_pixels
from rrsis_bench.engine.predict import segment, segment_all
from rrsis_bench.types import Batch, MethodOutput


def test_boxes_are_scored_by_those_of_the_truth_where_there_is_one() -> None:
    batch = make_batch([(32, 32)] * 3)
    masks = torch.zeros(3, 32, 32, dtype=torch.uint8)
    masks[0, 8:16, 8:24] = 1
    masks[1, 0:16, 0:16] = 1
    boxes = torch.tensor([[8, 8, 24, 16], [10, 0, 16, 16], [0, 0, 1, 1]]) / 32
    found, counted = box_scores({"boxes": boxes}, replace(batch, masks=masks))
    assert counted == 2
    assert float(found["box_iou"]) == pytest.approx((1 + 6 / 16) / 2, abs=1e-4)
    assert float(found["box_acc50"]) == 0.5


def test_methods_without_boxes_have_no_score() -> None:
    assert box_scores({}, make_batch([(32, 32)])) == ({}, 0)


def test_a_box_in_pixels_is_cut_to_the_image() -> None:
    assert in_pixels(torch.tensor([-0.1, 0.25, 0.5, 1.2]), 100, 200) == (0.0, 25.0, 100.0, 100.0)


class Boxed(Sound):
    """Gives each expression a box by its length."""

    def forward(self, batch: Batch) -> MethodOutput:
        edges = torch.tensor([[0.0, 0.0, len(text) / 100, 0.5] for text in batch.texts])
        return MethodOutput(super().forward(batch).logits, {"boxes": edges})


def test_predictions_hold_the_box_of_their_expression() -> None:
    image = np.zeros((60, 40, 3), np.uint8)
    texts = ["a ship", "the long bridge", "a tank", "a tree on the left"]
    found = list(segment_all(Boxed().eval(), image, texts, batch_size=2))
    for text, one in zip(texts, found, strict=True):
        assert one.box == pytest.approx((0.0, 0.0, 40 * len(text) / 100, 30.0))
    assert segment(Sound().eval(), image, "a ship").box is None
    # Boxes of several tiles are not one box.
    assert segment(Boxed().eval(), np.zeros((60, 90, 3), np.uint8), "a ship", tile=40).box is None
