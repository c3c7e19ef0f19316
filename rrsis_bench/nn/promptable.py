"""The two steps of promptable methods: an expression gives boxes, and a promptable segmenter outlines what they hold.

The second step is `PromptableSegmenter.segment_prompted` (`nn/encoders/sam.py`).

Legend: `B` batch, `K` boxes of an expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rrsis_bench.types import Batch


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes that expressions name.

    Attributes:
        boxes: (B, K, 4) left, top, right, bottom in [0, 1] of the image; the edges are half open.
        scores: (B, K), higher is better; -inf where an expression has fewer than K boxes.
    """

    boxes: Tensor
    scores: Tensor

    def best(self) -> Tensor:
        """The box of the highest score of each expression (B, 4); the first of equal ones."""
        chosen = self.scores.argmax(1)
        return self.boxes[torch.arange(len(chosen), device=chosen.device), chosen]


class BoxSource(Protocol):
    """Finds boxes for expressions: a grounding network, or a file of boxes."""

    def find(self, batch: Batch) -> FoundBoxes:
        """The boxes of each expression of a blind batch.

        Raises:
            UserError: the source has no box for a sample; the message names the sample.
        """
