"""One threshold: what is scored, what the gallery keeps and what `predict` writes is the same mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.batches import make_batch
from rrsis_bench.data import masks
from rrsis_bench.engine import predict
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.metrics.counts import binarise, count
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.types import InputSpec, MethodOutput

SIZE = (40, 50)


class Fixed:
    """A method that returns given logits whatever it sees."""

    input_spec = InputSpec((32, 32), "tiny", 8)

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, batch):
        return MethodOutput(self.logits)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 0.0])
def test_scoring_gallery_and_predict_mark_the_same_pixels(scale, monkeypatch):
    logits = scale * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = make_batch([SIZE])
    expected = binarise(logits, SIZE, (32, 32), NATIVE)[0].numpy()
    assert bool(expected.any()) == bool(scale)
    truth = batch.truths[0].numpy() != 0
    areas = [truth.sum(), expected.sum(), (truth & expected).sum()]
    assert count(logits, batch, (32, 32), [NATIVE])[0, 0].tolist() == areas
    monkeypatch.setattr("rrsis_bench.engine.gallery.wanted", lambda dataset: frozenset({"s0"}))
    keeper = GalleryKeeper("tiny")
    keeper.keep(logits, batch, (32, 32))
    kept = masks.decode({"size": list(SIZE), "counts": keeper.gathered()["s0"]})
    assert np.array_equal(kept != 0, expected)
    found = predict.segment(Fixed(logits), np.zeros((*SIZE, 3), np.uint8), "the ship")
    assert np.array_equal(found.mask != 0, expected)
    assert found.threshold == NATIVE.threshold


@pytest.mark.parametrize("user", ["engine.gallery", "engine.predict", "metrics.counts"])
def test_all_three_ask_the_one_function(user, monkeypatch):
    def all_foreground(logits, target, input_size, view):
        return torch.ones(len(logits), *target, dtype=torch.bool)

    monkeypatch.setattr(f"rrsis_bench.{user}.binarise", all_foreground)
    monkeypatch.setattr("rrsis_bench.engine.gallery.wanted", lambda dataset: frozenset({"s0"}))
    logits, batch = -torch.ones(1, 1, 8, 8), make_batch([SIZE])
    keeper = GalleryKeeper("tiny")
    keeper.keep(logits, batch, (32, 32))
    marked = {
        "gallery": int(masks.area({"size": list(SIZE), "counts": keeper.gathered()["s0"]})),
        "predict": int(predict.segment(Fixed(logits), np.zeros((*SIZE, 3), np.uint8), "the ship").mask.sum()),
        "counts": int(count(logits, batch, (32, 32), [NATIVE])[0, 0, 1]),
    }
    whole = SIZE[0] * SIZE[1]
    assert marked == {name: whole if user.endswith(name) else 0 for name in marked}
