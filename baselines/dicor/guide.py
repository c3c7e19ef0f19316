"""DiCoR's localisation guide: it ranks candidate places by the words, and brightens the third map at the best one.

Legend: `B` batch, `C` channels of the third map, `h w` its size, `K` candidates, `T` words, `Ct` their width, `Q` width
of the ranker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dicor.candidates import TINY, Candidates, PickRule, describe, pick, shapes
from rrsis_bench.families.lavt.stage import TextFeatures
from rrsis_bench.nn.layers.precision import at_least_float32, full_precision

OUT = -1e4
"""Score of what does not take part."""


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where a mask is true; zeros where it is true nowhere."""
    kept = scores.masked_fill(~mask, OUT).softmax(-1) * mask
    return kept / kept.sum(-1, keepdim=True).clamp(min=1e-6)


def groups_of(channels: int) -> int:
    """Groups of a group norm: the largest divisor of the channels that is 32 at most."""
    return max(count for count in range(1, 33) if channels % count == 0)


def projection(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer and a LayerNorm."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs))


class ResponseHead(nn.Module):
    """How strongly each place answers, before the sigmoid: two 3x3 convolutions and a 1x1.

    Args:
        channels: C.
        hidden: channels between the convolutions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups_of(hidden), hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups_of(hidden), hidden)
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to logits (B, 1, h, w), in float32 at least."""
        hidden = F.gelu(self.norm1(self.conv1(features)))
        hidden = F.gelu(self.norm2(self.conv2(hidden)))
        return at_least_float32(self.out(hidden))


@dataclass(frozen=True)
class Ranking:
    """Candidates and their scores.

    Attributes:
        found: the candidates.
        visual: (B, K, C) their visual features.
        shapes: (B, K, 5) their geometry.
        attention: (B, K, T) share of each word in a candidate's query.
        content: (B, K) agreement of look and query.
        geometry: (B, K) score of place and extent.
        scores: (B, K) of both; `OUT` where invalid.
        chances: (B, K) softmax of the scores over valid candidates.
        winner: (B,) index of the best candidate, the first of equal ones.
        glow: (B, 1, h, w) the winner's map, scaled to a largest value of 1.
    """

    found: Candidates
    visual: Tensor
    shapes: Tensor
    attention: Tensor
    content: Tensor
    geometry: Tensor
    scores: Tensor
    chances: Tensor
    winner: Tensor
    glow: Tensor

    def detached(self) -> Ranking:
        """The same ranking without gradients."""
        parts: dict[str, Any] = {name: x.detach() for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **parts)

    def prior(self) -> Tensor:
        """Mean of all candidates' maps by their chances, (B, 1, h, w) with the sum 1."""
        mixed = torch.einsum("bk,bkhw->bhw", self.chances, self.found.maps)[:, None]
        return mixed / mixed.sum((2, 3), keepdim=True).clamp(min=1e-6)


class Ranker(nn.Module):
    """Scores each candidate by the words that concern it.

    Args:
        channels: C.
        text_width: Ct.
        query: width Q of query and content.
        router: width in which words and candidates meet.
        hidden: width inside the score of the geometry.
    """

    def __init__(self, channels: int, text_width: int, query: int, router: int, hidden: int) -> None:
        super().__init__()
        self.route_candidate = projection(channels + 5, router)
        self.route_word = projection(text_width, router)
        self.word_query = projection(text_width, query)
        self.route = nn.Sequential(nn.Linear(2 * router, router), nn.GELU(), nn.Linear(router, 1))
        self.visual_content = projection(channels, query)
        self.query_content = projection(query, query)
        self.geometry = nn.Sequential(nn.Linear(5 + query, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, found: Candidates, features: Tensor, words: TextFeatures) -> Ranking:
        """Rank the candidates.

        Args:
            found: the candidates on the grid of the map.
            features: (B, C, h, w) the map.
            words: the words that may be read, without start and end.
        """
        visual, where = describe(features, found), shapes(found)
        states, present = words.states, words.mask.bool()
        candidates = F.gelu(self.route_candidate(torch.cat([visual, where], 2)))
        read = F.gelu(self.route_word(states))
        pairs = (candidates.shape[0], found.maps.shape[1], states.shape[1], -1)
        met = torch.cat([read[:, None].expand(pairs), candidates[:, :, None].expand(pairs)], 3)
        attention = masked_softmax(self.route(met)[..., 0], present[:, None])
        query = attention @ self.word_query(states)
        agreement = [F.normalize(layer(x), dim=-1, eps=1e-12) for layer, x in (
            (self.visual_content, visual), (self.query_content, query))]  # fmt: skip
        content = (agreement[0] * agreement[1]).sum(-1)
        geometry = self.geometry(torch.cat([where, query], 2))[..., 0]
        scores = (content + 0.5 * geometry).masked_fill(~found.valid, OUT)
        order = torch.arange(scores.shape[1], device=scores.device)
        winner = torch.where(scores == scores.amax(1, keepdim=True), order, len(order)).amin(1)
        best = torch.gather(found.maps, 1, winner[:, None, None, None].expand(-1, 1, *found.maps.shape[2:]))
        glow = best / best.amax((2, 3), keepdim=True).clamp(min=TINY)
        chances = masked_softmax(scores, found.valid)
        return Ranking(found, visual, where, attention, content, geometry, scores, chances, winner, glow)


class Guide(nn.Module):
    """Response head, ranker, and what they change: the third map and the weights of the words.

    Args:
        channels: C.
        text_width: Ct.
        rule: how candidates are picked.
        widths: hidden widths of response head, ranker's query, router, geometry.
        strength: how much the winner's place is brightened.
    """

    acts: Tensor

    def __init__(
        self,
        channels: int,
        text_width: int,
        rule: PickRule,
        widths: tuple[int, int, int, int] = (128, 256, 256, 128),
        strength: float = 0.5,
    ) -> None:
        super().__init__()
        self.rule, self.strength = rule, strength
        self.response = ResponseHead(channels, widths[0])
        self.ranker = Ranker(channels, text_width, *widths[1:])
        self.text_norm = nn.LayerNorm(text_width)
        # 0 while a run in one piece has not come to the guide yet, else 1. A checkpoint keeps it.
        self.register_buffer("acts", torch.ones(()))

    def rank(self, features: Tensor, words: TextFeatures, source: Tensor) -> Ranking:
        """Rank the peaks of a source, in full precision.

        Args:
            features: (B, C, h, w).
            words: the words that may be read.
            source: (B, 1, h', w') in [0, 1]; it is resized to the map.
        """
        source = at_least_float32(source)
        if source.shape[-2:] != features.shape[-2:]:
            source = F.interpolate(source, features.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1)
        with full_precision(features.device):
            found = pick(source, self.rule)
            exact = TextFeatures(at_least_float32(words.states), words.mask)
            ranking: Ranking = self.ranker(found, at_least_float32(features), exact)
        return ranking

    def brighten(self, features: Tensor, ranking: Ranking) -> Tensor:
        """The map (B, C, h, w), brighter at the winner's place."""
        return features * (1 + self.strength * self.acts * ranking.glow).to(features.dtype)

    def word_scales(self, words: TextFeatures, ranking: Ranking) -> tuple[Tensor, Tensor]:
        """Weights and factors (B, T) of the words: those that found the winner become larger, others smaller."""
        present = words.mask.to(ranking.attention.dtype)
        winner = ranking.winner[:, None, None].expand(-1, 1, present.shape[1])
        read = torch.gather(ranking.attention, 1, winner)[:, 0] * present
        count = present.sum(1, keepdim=True).clamp(min=1)
        total = read.sum(1, keepdim=True)
        weight = torch.where(total > 1e-6, read / total.clamp(min=1e-6), present / count)
        change = (weight * count - 1) * ranking.glow.mean((2, 3))
        return weight, 1 + self.acts * change * present

    def weigh(self, states: Tensor, words: TextFeatures, ranking: Ranking) -> Tensor:
        """All words (B, T, Ct), scaled and normed.

        Args:
            states: (B, T, Ct).
            words: the words that may change.
            ranking: of the candidates.
        """
        _, scale = self.word_scales(words, ranking)
        weighed: Tensor = self.text_norm(states * scale[..., None].to(states.dtype))
        return weighed
