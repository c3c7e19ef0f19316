"""RSRefSeg 2's losses, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from baselines.rsrefseg2.losses import contrastive, decorrelation, duplicate_keys, region_features, squared_dice


def test_dice_is_v_nets() -> None:
    logits, target = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    p = logits.sigmoid()
    each = [1 - 2 * (p[k] * target[k]).sum() / ((p[k] ** 2).sum() + (target[k] ** 2).sum() + 0.002) for k in range(2)]
    torch.testing.assert_close(squared_dice(logits, target), torch.stack(each).mean())
    assert squared_dice(torch.full((1, 1, 2, 2), -50.0), torch.zeros(1, 1, 2, 2)).item() == pytest.approx(1.0)


def test_decorrelation_is_the_squared_cosine_of_the_means() -> None:
    first = torch.zeros(2, 3, 4)
    second = torch.zeros(2, 3, 4)
    first[:, :, 0] = 2.0
    second[0, :, 1] = 1.0
    second[1, :, 0] = -1.0
    second[1, :, 1] = 1.0
    assert decorrelation(first, second).item() == pytest.approx((0 + 0.5) / 2)


def test_a_small_object_counts_by_its_area_and_vanishes_by_the_released_rule() -> None:
    places = torch.randn(1, 5, 4, 4)
    masks = torch.zeros(1, 32, 32, dtype=torch.uint8)
    masks[0, 9:12, 17:20] = 1  # within the place at row 1, column 2
    by_area = region_features(places, masks, "area")
    torch.testing.assert_close(by_area[0], F.normalize(places[0, :, 1, 2], dim=0))
    assert region_features(places, masks, "threshold").abs().max() == 0
    masks[0, :16] = 1
    expected = F.normalize(places[0, :, :2].mean((1, 2)), dim=0)
    found = region_features(places, (torch.arange(32)[:, None] < 16).expand(1, 32, 32).byte(), "threshold")[0]
    torch.testing.assert_close(found, expected)


def test_contrast_is_the_mean_of_both_cross_entropies() -> None:
    seen, said = (F.normalize(torch.randn(4, 6), dim=-1) for _ in range(2))
    scale, bias = torch.tensor([math.log(5.0)]), torch.tensor([0.7])
    logits = 5 * seen @ said.T
    expected = -(logits.log_softmax(1).diag() + logits.log_softmax(0).diag()).mean() / 2
    torch.testing.assert_close(contrastive(seen, said, scale, bias, None), expected)
    assert contrastive(seen[:1], said[:1], scale, bias, None).item() == pytest.approx(0, abs=1e-6)


def test_same_sentence_or_image_is_no_negative() -> None:
    seen, said = (F.normalize(torch.randn(3, 6), dim=-1) for _ in range(2))
    scale, bias = torch.tensor([1.0]), torch.tensor([0.0])
    keys = duplicate_keys(("the ship", "the dam", "the ship"), ("a", "b", "c"), torch.device("cpu"))
    logits = math.e * seen @ said.T
    kept = logits.masked_fill(torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]]).bool(), float("-inf"))
    expected = -(kept.log_softmax(1).diag() + kept.log_softmax(0).diag()).mean() / 2
    torch.testing.assert_close(contrastive(seen, said, scale, bias, keys), expected)
    # A sentence and an image of the same name are different things.
    apart = duplicate_keys(("a", "b"), ("b", "a"), torch.device("cpu"))
    assert len(set(apart.flatten().tolist())) == 4
    everything = duplicate_keys(("x",) * 3, ("a", "b", "c"), torch.device("cpu"))
    assert contrastive(seen, said, scale, bias, everything).item() == pytest.approx(0, abs=1e-6)
