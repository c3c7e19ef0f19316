"""The prompts that refiner and guide train on: coarse probabilities, made on the fly from the coarse part.

The released training reads them from files, one for each of five snapshots of the coarse training, in 8 bits at a
quarter of the image's size. Here one coarse part makes them, and noise takes the place of the other snapshots.

Legend: `B` batch, `H W` pixels, `h w` = H/4, W/4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.nn.layers.losses import reduce_mask, upsample
from rrsis_bench.nn.layers.precision import at_least_float32

NOISE_CELLS = 8
"""Cells of the quarter-size map along a side of one patch of noise."""


@dataclass(frozen=True)
class Prompts:
    """Coarse probabilities of a batch.

    Attributes:
        quarter: (B, 1, h, w) in steps of 1/255.
        iou: (B,) of their masks with the truth at the same size.
        share: (B,) of the image that the true object covers at this size.
    """

    quarter: Tensor
    iou: Tensor
    share: Tensor

    def within(self, iou: tuple[float, float], largest: float = 1.0) -> Tensor:
        """Which samples (B,) a stage uses: IoU within bounds, and an object that covers no more than a share."""
        return (self.iou >= iou[0]) & (self.iou <= iou[1]) & (self.share <= largest)


@torch.no_grad()
def make_prompts(classes: Tensor, masks: Tensor, noise: float) -> Prompts:
    """Turn the decoder's logits into prompts.

    Args:
        classes: (B, 2, h, w) logits of background and object.
        masks: (B, H, W) the truth.
        noise: deviation of the smooth noise on the log-odds; 0 for none.
    """
    classes = at_least_float32(classes)
    odds = classes[:, 1:] - classes[:, :1]
    size = (odds.shape[-2], odds.shape[-1])
    if noise > 0:
        cells = [-(-side // NOISE_CELLS) + 1 for side in size]
        drawn = torch.randn(len(odds), 1, *cells, dtype=odds.dtype, device=odds.device)
        odds = odds + noise * F.interpolate(drawn, size, mode="bilinear", align_corners=True)
    quarter = (255 * odds.sigmoid()).round() / 255
    predicted, truth = quarter > 0.5, reduce_mask(masks, size) > 0.5
    both = (predicted & truth).sum((1, 2, 3)).to(odds.dtype)
    either = (predicted | truth).sum((1, 2, 3)).to(odds.dtype)
    share = truth.to(odds.dtype).mean((1, 2, 3))
    return Prompts(quarter, both / either.clamp(min=1), share)


def prompt_logits(quarter: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A prompt at the image's size (B, 1, H, W), and its two logits (B, 2, H, W)."""
    probability = upsample(quarter, size)
    certain = probability.clamp(1e-6, 1 - 1e-6)
    return probability, torch.cat([(1 - certain).log(), certain.log()], 1)
