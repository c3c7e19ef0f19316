"""`prior-text`: the mean mask of the training samples, weighted by the likeness of their expressions to this one.

Legend: `B` batch, `D` buckets of features, `G` cells per side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.prior.model import Prior, PriorOptions
from rrsis_bench.types import Batch, TextTokens

__all__ = ["PriorText", "TextOptions"]


@dataclass(frozen=True)
class TextOptions(PriorOptions):
    """Choices of `prior-text`.

    Attributes:
        buckets: number D of sums of masks, over which words and pairs of words are spread.
        smoothing: weight of the mean mask of all samples, on the scale of the likeness.
    """

    buckets: int = 8192
    smoothing: float = 1.0


class PriorText(Prior):
    """Predicts where referents of similar expressions lie.

    The features of an expression are its words and its unordered pairs of words. The likeness of an expression t to a
    training expression s is sum_f idf_f^2 n_f(t) n_f(s) / sqrt(|s|), with n_f the count of feature f and |s| the number
    of features. It is a dot product: one sum of masks per feature gives the weighted mean over any number of samples.
    """

    name: ClassVar[str] = "prior-text"
    Options: ClassVar[type[Any]] = TextOptions
    options: TextOptions
    sums: Tensor
    weights: Tensor
    counts: Tensor

    def __init__(self, options: TextOptions) -> None:
        super().__init__(options)
        self.register_buffer("sums", torch.zeros(options.buckets, options.grid**2))
        self.register_buffer("weights", torch.zeros(options.buckets))
        self.register_buffer("counts", torch.zeros(options.buckets))

    def features(self, tokens: TextTokens) -> Tensor:
        """Count the words and pairs of each bucket in the expressions, (B, D) float32."""
        length = tokens.ids.shape[1]
        first, second = torch.triu_indices(length, length, device=tokens.ids.device)
        a, b = tokens.ids[:, first], tokens.ids[:, second]
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        # A word paired with itself stands for the word. Ids are below 2^31: nothing overflows.
        buckets = (low * 1_000_003 + high * 998_244_353) % 2_147_483_647 % self.options.buckets
        real = tokens.mask[:, first] & tokens.mask[:, second]
        return self.sums.new_zeros(len(buckets), self.options.buckets).scatter_add_(1, buckets, real.float())

    def accumulate(self, batch: Batch, masks: Tensor) -> None:
        """Add a training batch's truths to the sums of their expressions' features."""
        super().accumulate(batch, masks)
        features = self.features(batch.tokens)
        scaled = features / features.sum(1, keepdim=True).clamp(min=1).sqrt()
        self.counts += features.sum(0)
        self.weights += scaled.sum(0)
        self.sums.addmm_(scaled.T, masks)

    def probability(self, batch: Batch) -> Tensor:
        """Mean mask weighted by likeness, (B, G * G)."""
        rarity = torch.log((1 + self.seen) / (1 + self.counts)).clamp(min=0).square()
        likeness = self.features(batch.tokens) * rarity
        smoothing = self.options.smoothing
        masks = likeness @ self.sums + smoothing * self.mean_mask()
        return masks / ((likeness @ self.weights).unsqueeze(1) + smoothing)
