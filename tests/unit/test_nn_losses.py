"""Losses: batch means, edge cases."""

from __future__ import annotations

import pytest
import torch

from rrsis_bench.nn.layers.losses import binary_cross_entropy, dice_loss, upsample


@pytest.mark.parametrize("loss", [binary_cross_entropy, dice_loss])
def test_losses_are_batch_means(loss) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 8, 8, generator=draw)
    truth = (torch.rand(4, 1, 8, 8, generator=draw) > 0.5).float()
    single = torch.stack([loss(logits[i : i + 1], truth[i : i + 1]) for i in range(4)])
    assert torch.allclose(loss(logits, truth), single.mean())


def test_dice_at_its_ends() -> None:
    truth = torch.zeros(1, 1, 4, 4)
    assert dice_loss(torch.full((1, 1, 4, 4), -50.0), truth).item() == pytest.approx(0)
    truth[..., :2] = 1
    assert dice_loss(100 * (truth - 0.5), truth).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-100 * (truth - 0.5), truth).item() > 0.9


def test_half_precision_logits_are_summed_in_single() -> None:
    logits = torch.randn(2, 1, 8, 8).bfloat16()
    truth = torch.ones(2, 1, 8, 8)
    assert binary_cross_entropy(logits, truth).dtype == torch.float32
    assert dice_loss(logits, truth).dtype == torch.float32


def test_logits_at_their_own_size_stay() -> None:
    logits = torch.randn(2, 1, 8, 8)
    assert upsample(logits, (8, 8)) is logits
    assert upsample(logits, (32, 32)).shape == (2, 1, 32, 32)
