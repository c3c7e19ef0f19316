"""MID: text and map align to each other in turn, and their product is the mask.

The authors' figure shows a stack of 4 language-to-vision alignments in the shape of the text. Their result enters a
stack of 4 vision-to-language alignments in the shape of the map. The sum of the map before and after, times the text,
is the mask. The insides, the order and the pooling of the text are ours.

Legend: `B` batch, `T` tokens (words, then prompts), `N` pixels, `D` width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from baselines.crobim.options import CroBIMOptions
from rrsis_bench.nn.layers.attention import Attention, FeedForward
from rrsis_bench.nn.layers.init import zero
from rrsis_bench.nn.layers.positions import sine_2d


def _feed(options: CroBIMOptions) -> FeedForward:
    feed = FeedForward(options.width, options.ffn)
    if options.zero_init:
        zero(feed.outer)
    return feed


class TextAlignment(nn.Module):
    """Tokens attend to each other (`mid_self`), then to the pixels.

    Args:
        options: the method's options.
    """

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        width, heads = options.width, options.heads
        self.own: Attention | None = None
        if options.mid_self:
            self.own_norm = nn.LayerNorm(width)
            self.own = Attention(width, width, width, heads)
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width, width, heads)
        self.feed = _feed(options)

    def forward(self, text: Tensor, mask: Tensor, pixels: Tensor, where: Tensor) -> Tensor:
        """Align text (B, T, D) with mask (B, T) to pixels (B, N, D) at positions (N, D); returns (B, T, D)."""
        if self.own is not None:
            normed = self.own_norm(text)
            text = text + self.own(normed, normed, normed, mask)
        text = text + self.attention(self.norm(text), pixels + where, pixels)
        fed: Tensor = text + self.feed(text)
        return fed


class PixelAlignment(nn.Module):
    """Pixels attend to the tokens, but not to each other: the cost is linear in the pixels.

    Args:
        options: the method's options.
    """

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(options.width)
        self.attention = Attention(options.width, options.width, options.width, options.heads)
        self.feed = _feed(options)

    def forward(self, pixels: Tensor, where: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Align pixels (B, N, D) at positions (N, D) to text (B, T, D) with mask (B, T); returns (B, N, D)."""
        pixels = pixels + self.attention(self.norm(pixels) + where, text, text, mask)
        fed: Tensor = pixels + self.feed(pixels)
        return fed


class TextVector(nn.Module):
    """Pools the text to one vector: k = MLP(sum of w_n T_n).

    Args:
        options: the method's options; `pooling` chooses the weights w.
    """

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        width = options.width
        self.pooling, self.prompts, self.room = options.pooling, options.prompts, options.max_tokens
        if self.pooling == "softmax":
            self.score = nn.Linear(width, 1)
        elif self.pooling == "maps":
            places = self.room + self.prompts
            self.place = nn.Parameter(torch.full((places,), 1 / places))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """Pool text (B, T, D), prompts last, with mask (B, T) to (B, D)."""
        if self.pooling == "maps":
            # A map per token and a 1x1 convolution over the maps are linear: summing the tokens first is the same.
            words = text.shape[1] - self.prompts
            if words > self.room:
                raise ValueError(f"{words} tokens, but pooling=maps has places for {self.room} (max_tokens).")
            weight = torch.cat((self.place[:words], self.place[self.room :])) * mask.to(self.place.dtype)
            return torch.einsum("bn,bnd->bd", weight, self.mlp(text).to(weight.dtype))
        if self.pooling == "softmax":
            scores = self.score(text)[..., 0].float().masked_fill(~mask, -math.inf)
            pooled = torch.einsum("bn,bnd->bd", scores.softmax(-1).to(text.dtype), text)
        else:
            pooled = text[:, 0] if self.pooling == "cls" else text[:, -self.prompts :].mean(1)
        vector: Tensor = self.mlp(pooled)
        return vector


class MID(nn.Module):
    """Aligns text and map, and multiplies them to a mask.

    Args:
        options: the method's options.
    """

    def __init__(self, options: CroBIMOptions) -> None:
        super().__init__()
        self.project = nn.Linear(options.text_width, options.width)
        layers = range(options.mid_layers)
        self.alternate = options.mid_order == "alternate"
        text, image = options.mid_direction != "vision-to-language", options.mid_direction != "language-to-vision"
        self.text_side = nn.ModuleList(TextAlignment(options) for _ in layers if text)
        self.image_side = nn.ModuleList(PixelAlignment(options) for _ in layers if image)
        self.vector = TextVector(options)
        self.bias = nn.Parameter(torch.zeros(()))

    def align(self, features: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers of both sides; arguments as for `forward`.

        Returns:
            text (B, T, D) and pixels (B, N, D).
        """
        text = self.project(words)
        pixels = features.flatten(2).transpose(1, 2)
        where = sine_2d(features.shape[-2], features.shape[-1], features.shape[1], like=pixels)
        steps = max(len(self.text_side), len(self.image_side))
        order = [step for k in range(steps) for step in (*self.text_side[k : k + 1], *self.image_side[k : k + 1])]
        for step in order if self.alternate else (*self.text_side, *self.image_side):
            if isinstance(step, TextAlignment):
                text = step(text, mask, pixels, where)
            else:
                pixels = step(pixels, where, text, mask)
        return text, pixels

    def forward(self, features: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Logits (V0 + V) . k / sqrt(D) + bias.

        Args:
            features: (B, D, h, w) from LGFA.
            words: (B, T, C) of the pass with prompts.
            mask: (B, T) bool, True for real words and prompts.

        Returns:
            (B, 1, h, w).
        """
        text, pixels = self.align(features, words, mask)
        both = features + pixels.transpose(1, 2).reshape(features.shape)
        vector = self.vector(text, mask)
        product = torch.einsum("bchw,bc->bhw", both, vector.to(both.dtype))
        return product[:, None] / math.sqrt(both.shape[1]) + self.bias
