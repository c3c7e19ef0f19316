"""What both blind baselines share: a probability for every cell, learned by counting, and a level chosen on val.

Legend: `B` batch, `G` cells per side, `K` levels tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.methods.base import Method
from rrsis_bench.types import Batch, InputSpec, MethodOutput

TOKENIZER = "baselines.prior.words:WordTokenizer"
LEVELS = torch.sigmoid(torch.linspace(-7.0, 5.0, 241))
"""Levels tried, (K,): 0.001 to 0.993, evenly in log-odds."""


@dataclass(frozen=True)
class PriorOptions:
    """Choices of both baselines.

    Attributes:
        grid: cells G per side; the input has that size, and truths are sampled at the cells' centres.
        max_tokens: number of words of an expression that count.
    """

    grid: int = 32
    max_tokens: int = 32


class Prior(Method):
    """Counts masks in training, predicts a probability map, and cuts it at the level that is best on val.

    It has neither gradients nor parameters: training is one pass over the data, in any order.
    """

    options: PriorOptions
    level: Tensor
    seen: Tensor
    mean_sum: Tensor

    def __init__(self, options: PriorOptions) -> None:
        super().__init__()
        self.options = options
        size = (options.grid, options.grid)
        self.input_spec = InputSpec(size, TOKENIZER, options.max_tokens, reads_image=False)
        self.register_buffer("level", torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean_sum", torch.zeros(options.grid**2))

    def probability(self, batch: Batch) -> Tensor:
        """Share of training truths with foreground in each cell, (B, G * G) in 0..1."""
        raise NotImplementedError

    def accumulate(self, batch: Batch, masks: Tensor) -> None:
        """Count a training batch.

        Args:
            batch: holds the expressions.
            masks: (B, G * G) float32 truths.
        """
        self.seen += len(masks)
        self.mean_sum += masks.sum(0)

    def mean_mask(self) -> Tensor:
        """The mean mask of all training samples (G * G); a prior of half a sample keeps it inside 0..1."""
        return (self.mean_sum + 0.5) / (self.seen + 1)

    def forward(self, batch: Batch) -> MethodOutput:
        """Log-odds of the map minus those of the level, (B, 1, H, W); in training, from earlier batches only."""
        side = self.options.grid
        # 16-bit floats would lose sums over a whole data set.
        with torch.no_grad(), torch.autocast(self.seen.device.type, enabled=False):
            probability = self.probability(batch).float().clamp(1e-6, 1 - 1e-6)
            if self.training:
                self.accumulate(batch, self._cells(batch))
        odds = torch.logit(probability)
        logits = (odds - torch.logit(self.level)).view(-1, 1, side, side)
        size = batch.images.shape[-2:]
        if tuple(size) != (side, side):
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return MethodOutput(logits, {"odds": odds})

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the map (without the level), for the log; no gradient comes from it."""
        return {"bce": F.binary_cross_entropy_with_logits(output.aux["odds"], self._cells(batch))}

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Set the level to the one with the best mean IoU over cells on val (both empty: 1, as in `native-v1`)."""
        total = torch.zeros(len(LEVELS), device=self.level.device)
        for batch in batches:
            total += level_ious(self.probability(batch), self._cells(batch)).sum(0)
        self.level.copy_(LEVELS.to(total.device)[total.argmax()])

    def _cells(self, batch: Batch) -> Tensor:
        """The truths at G x G, (B, G * G) float32."""
        masks = batch.masks.unsqueeze(1).float()
        return F.adaptive_avg_pool2d(masks, self.options.grid).round().flatten(1)


def level_ious(probability: Tensor, masks: Tensor) -> Tensor:
    """IoU of every sample at every level, from one histogram per sample.

    Args:
        probability: (B, N) in 0..1.
        masks: (B, N) float32 truths in {0, 1}.

    Returns:
        (B, K) float32; foreground where the probability is greater than the level.
    """
    levels = LEVELS.to(probability.device)
    bins = torch.bucketize(probability.float().contiguous(), levels)  # how many levels lie below the value
    counts = masks.new_zeros(2, len(masks), len(levels) + 1)
    counts[0].scatter_add_(1, bins, torch.ones_like(masks))
    counts[1].scatter_add_(1, bins, masks)
    pred, inter = counts.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    union = masks.sum(1, keepdim=True) + pred - inter
    return torch.where(union > 0, inter / union.clamp(min=1), 1.0)
