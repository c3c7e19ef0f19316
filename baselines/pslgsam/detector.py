"""LQVG's deformable transformer: encoder, decoder with box refinement, and its heads.

Legend: `B` samples, `S` levels, `N` tokens of all levels, `Q` queries, `D` width, `J` decoder layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.deformable import DeformableAttention, Size, cell_centres
from rrsis_bench.nn.layers.init import zero

EPSILON = 1e-5  # of the inverse sigmoid, as released


@dataclass(frozen=True)
class Levels:
    """Maps of all levels as one sequence of tokens, finest level first.

    Attributes:
        tokens: (B, N, D).
        positions: (B, N, D) position codes, those of the levels included.
        padding: (B, N) bool, True for padding.
        sizes: cells (h, w) of each level.
        ratios: (B, S, 2) valid share of each level's columns and rows.
    """

    tokens: Tensor
    positions: Tensor
    padding: Tensor
    sizes: Sequence[Size]
    ratios: Tensor


@dataclass(frozen=True)
class Detected:
    """Boxes of all decoder layers.

    Attributes:
        scores: (J, B, Q) logits.
        boxes: (J, B, Q, 4) cxcywh in [0, 1] of the unpadded image.
        states: (J, B, Q, D) queries after each layer.
        references: the first reference points (B, Q, 2), then the boxes (B, Q, 4) that each layer hands on.
        memory: (B, N, D) tokens after the encoder.
    """

    scores: Tensor
    boxes: Tensor
    states: Tensor
    references: tuple[Tensor, ...]
    memory: Tensor


class FeedForward(nn.Module):
    """Linear, ReLU, linear, added to the input and normed."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., D) to tokens (..., D)."""
        changed = self.linear2(self.dropout(F.relu(self.linear1(x))))
        normed: Tensor = self.norm(x + self.dropout(changed))
        return normed


class EncoderLayer(nn.Module):
    """Deformable attention of the tokens to each other, then a feed-forward part."""

    def __init__(self, width: int, heads: int, levels: int, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = DeformableAttention(width, heads, levels, points)
        self.norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, references: Tensor, levels: Levels) -> Tensor:
        """Tokens (B, N, D), and the references (B, N, S, 2) of each, to tokens (B, N, D)."""
        attended = self.attention(x + levels.positions, references, x, levels.sizes, levels.padding)
        fed: Tensor = self.feed(self.norm(x + self.dropout(attended)))
        return fed


class DecoderLayer(nn.Module):
    """Attention among queries, deformable attention to the memory, then a feed-forward part."""

    def __init__(self, width: int, heads: int, levels: int, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.own_norm = nn.LayerNorm(width)
        self.attention = DeformableAttention(width, heads, levels, points)
        self.norm = nn.LayerNorm(width)
        self.feed = FeedForward(width, hidden, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, y: Tensor, positions: Tensor, references: Tensor, memory: Tensor, levels: Levels) -> Tensor:
        """Queries (B, Q, D), their positions and references (B, Q, S, 2 or 4), to queries (B, Q, D)."""
        asking = y + positions
        y = self.own_norm(y + self.dropout(self.own(asking, asking, y, need_weights=False)[0]))
        read = self.attention(y + positions, references, memory, levels.sizes, levels.padding)
        fed: Tensor = self.feed(self.norm(y + self.dropout(read)))
        return fed


class BoxHead(nn.Module):
    """Three linear layers with ReLU: a query (..., D) to four numbers (..., 4)."""

    def __init__(self, width: int, size_bias: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4)])
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        zero(last)
        nn.init.constant_(last.bias[2:], size_bias)

    def forward(self, y: Tensor) -> Tensor:
        """The change of a box in logits."""
        first, second, last = self.layers
        change: Tensor = last(F.relu(second(F.relu(first(y)))))
        return change


class Detector(nn.Module):
    """Deformable encoder and decoder with box refinement.

    Args:
        width: D.
        heads: attention heads.
        levels: S.
        points: sampling points per head and level.
        layers: numbers of encoder and decoder layers.
        hidden: width inside the feed-forward parts.
        queries: Q.
        dropout: rate inside both.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        levels: int,
        points: int,
        layers: tuple[int, int],
        hidden: int,
        queries: int,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = (width, heads, levels, points, hidden, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(layers[0]))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(layers[1]))
        self.level_embed = nn.Parameter(torch.empty(levels, width))
        self.queries = nn.Embedding(queries, width)
        self.reference_points = nn.Linear(width, 2)
        self.score = nn.ModuleList(nn.Linear(width, 1) for _ in range(layers[1]))
        for name, parameter in self.named_parameters():
            kept = ("attention.sampling_offsets", "attention.attention_weights", "attention.output", "attention.value")
            if parameter.ndim > 1 and "queries" not in name and not any(part in name for part in kept):
                nn.init.xavier_uniform_(parameter)
        # Boxes start small round their reference.
        self.box = nn.ModuleList(BoxHead(width, 0.0 if number else -2.0) for number in range(layers[1]))
        nn.init.normal_(self.level_embed)
        nn.init.zeros_(self.reference_points.bias)
        for head in self.score:
            assert isinstance(head, nn.Linear)
            # A probability of 0.01.
            nn.init.constant_(head.bias, -math.log(99.0))

    def flatten(self, maps: Sequence[Tensor], codes: Sequence[Tensor], padding: Sequence[Tensor]) -> Levels:
        """Join the levels.

        Args:
            maps: (B, h w, D) tokens of each level.
            codes: (B, h, w, D) position codes.
            padding: (B, h, w) bool, True for padding.
        """
        positions = [code.flatten(1, 2) + level for code, level in zip(codes, self.level_embed, strict=True)]
        dtype = torch.promote_types(maps[0].dtype, torch.float32)
        ratios = [torch.stack([side.to(dtype).mean(1) for side in (~one[:, 0], ~one[:, :, 0])], -1) for one in padding]
        return Levels(
            torch.cat(list(maps), 1),
            torch.cat(positions, 1),
            torch.cat([one.flatten(1) for one in padding], 1),
            [(one.shape[-2], one.shape[-1]) for one in padding],
            torch.stack(ratios, 1),
        )

    def forward(self, levels: Levels, sentence: Tensor) -> Detected:
        """Detect.

        Args:
            levels: from `flatten`.
            sentence: (B, D), the start of every query.
        """
        memory = self._encode(levels)
        positions = self.queries.weight.expand(len(sentence), -1, -1)
        y = sentence[:, None].expand(-1, len(self.queries.weight), -1)
        reference = self.reference_points(positions).sigmoid()
        references, states, scores, boxes = [reference], [], [], []
        for layer, score, head in zip(self.decoder, self.score, self.box, strict=True):
            ratios = levels.ratios.repeat(1, 1, reference.shape[-1] // 2)
            y = layer(y, positions, reference[:, :, None] * ratios[:, None], memory, levels)
            change = head(y)
            known = inverse_sigmoid(reference)
            # The first layer knows centres only.
            box = (change + F.pad(known, (0, change.shape[-1] - known.shape[-1]))).sigmoid()
            reference = box.detach()
            references.append(reference)
            states.append(y)
            scores.append(score(y)[..., 0])
            boxes.append(box)
        return Detected(torch.stack(scores), torch.stack(boxes), torch.stack(states), tuple(references), memory)

    def _encode(self, levels: Levels) -> Tensor:
        x, start, own = levels.tokens, 0, []
        columns, rows = cell_centres(levels.sizes, x)
        for number, (height, width) in enumerate(levels.sizes):
            here = slice(start, start + height * width)
            centres = torch.stack((columns[here], rows[here]), -1).to(levels.ratios.dtype)
            own.append(centres[None] / levels.ratios[:, None, number])
            start += height * width
        references = torch.cat(own, 1)[:, :, None] * levels.ratios[:, None]
        for layer in self.encoder:
            x = layer(x, references, levels)
        return x


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Log-odds of numbers in [0, 1], clamped at `EPSILON` from both ends."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=EPSILON) / (1 - x).clamp(min=EPSILON))
