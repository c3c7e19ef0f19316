"""Bidirectional spatial correlation (BSC) behind a stage: pixels attend to words, and words attend to pixels.

Name, purpose and both directions are the paper's; everything inside is ours.

Legend: `B` batch, `h w` map, `N` its pixels, `C` its channels, `d` channels of a head, `T` words, `Ct` their width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.families.lavt.stage import CONTEXT, TextFeatures, Texts
from rrsis_bench.nn.layers.fusion import LanguageGate, additive_mask, instance_norm
from rrsis_bench.nn.layers.init import init_transformer

START = "start"
"""Name of the text encoder's own output; the stages change the other text, `CONTEXT`."""


class SpatialContext(nn.Module):
    """Adds neighbours at several distances: S = V + GELU(pointwise(sum of dilated depthwise 3x3)).

    Args:
        width: channels C.
        dilations: dilations of the depthwise convolutions.
    """

    def __init__(self, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.around = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width) for dilation in dilations
        )
        self.point = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, h, w, C) to the same shape."""
        ordered = features.permute(0, 3, 1, 2)
        found = torch.stack([conv(ordered) for conv in self.around]).sum(0).permute(0, 2, 3, 1)
        return features + F.gelu(self.point(found))


class WordUpdate(nn.Module):
    """Updates words by the pixels they attended to: a gated residual and a feed-forward layer, each with a norm.

    Args:
        width: channels C of the attended pixels.
        text_width: width Ct.
        expansion: hidden width of the feed-forward layer over Ct.
        gain: start of the learned gain.
    """

    def __init__(self, width: int, text_width: int, expansion: int, gain: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, text_width)
        self.gain = nn.Parameter(torch.full((text_width,), gain))
        self.norm1 = nn.LayerNorm(text_width)
        hidden = expansion * text_width
        self.feed = nn.Sequential(nn.Linear(text_width, hidden), nn.GELU(), nn.Linear(hidden, text_width))
        self.norm2 = nn.LayerNorm(text_width)

    def forward(self, words: TextFeatures, read: Tensor) -> Tensor:
        """Update words (B, T, Ct) by each word's attended pixels (B, T, C)."""
        present = words.mask.to(read.dtype)[..., None]
        states = self.norm1(words.states + self.gain * self.project(read) * present)
        updated: Tensor = self.norm2(states + self.feed(states))
        return updated


class BSCStage(nn.Module):
    """One stage's BSC, and the gate of its result into the next stage.

    Args:
        width: channels C of the stage.
        text_width: width Ct of the words.
        head_width: channels d of a head.
        dilations: dilations of the spatial context; none leaves it out.
        updates: words attend to pixels too.
        separate: the words' direction has a correlation matrix of its own.
        expansion: see `WordUpdate`.
        gain: see `WordUpdate`.
        gated: the result enters the next stage.
        gate_zero: start the gate at 0.
        reset: use the text encoder's words in place of those of the previous stage.
        normed: apply a LayerNorm to the stage's output first.
    """

    def __init__(
        self,
        width: int,
        text_width: int,
        head_width: int = 64,
        dilations: Sequence[int] = (1, 2, 3),
        updates: bool = True,
        separate: bool = False,
        expansion: int = 2,
        gain: float = 0.01,
        gated: bool = True,
        gate_zero: bool = True,
        reset: bool = False,
        normed: bool = True,
    ) -> None:
        super().__init__()
        self.heads = width // head_width
        self.reset = reset
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.context = SpatialContext(width, dilations) if dilations else nn.Identity()
        self.query = nn.Linear(width, width)
        self.visual = nn.Linear(width, width)
        self.key = nn.Linear(text_width, width)
        self.value = nn.Linear(text_width, width)
        self.output = nn.Linear(width, width)
        self.mix = nn.Linear(width, width)
        self.back_query = nn.Linear(text_width, width) if updates and separate else None
        self.back_key = nn.Linear(width, width) if updates and separate else None
        self.update = WordUpdate(width, text_width, expansion, gain) if updates else None
        self.gate = LanguageGate(width) if gated else None
        if self.gate is not None:
            self.gate.apply(init_transformer)
            if gate_zero:
                nn.init.zeros_(self.gate.outer.weight)

    def forward(self, features: Tensor, texts: Texts) -> tuple[Tensor, Tensor, Texts]:
        """Correlate a stage's map with the words.

        Args:
            features: (B, h, w, C), the stage's map.
            texts: the encoded texts of the batch, `CONTEXT` and `START`.

        Returns:
            the next stage's input before its reduction (B, h, w, C), the decoder's map F (B, C, h, w), and the texts
            with updated words.
        """
        words = texts[START if self.reset else CONTEXT]
        pixels = self.context(self.norm(features)).flatten(1, 2)
        query = self._split(instance_norm(self.query(pixels)))
        visual = self.visual(pixels)
        key, value = self._split(self.key(words.states)), self._split(self.value(words.states))
        found = self._gather(query, key, value, words.mask)
        fused = F.gelu(self.mix(visual * instance_norm(self.output(found)))).reshape(features.shape)
        flowing = features if self.gate is None else features + self.gate(fused)
        if self.update is not None:
            # The same products of pixels and words, with the softmax over the pixels.
            if self.back_query is not None and self.back_key is not None:
                key, query = self._split(self.back_query(words.states)), self._split(self.back_key(pixels))
            read = self._gather(key, query, self._split(visual))
            texts = {**texts, CONTEXT: TextFeatures(self.update(words, read), words.mask)}
        return flowing, fused.permute(0, 3, 1, 2), texts

    def _split(self, features: Tensor) -> Tensor:
        return features.reshape(*features.shape[:2], self.heads, -1).transpose(1, 2)

    @staticmethod
    def _gather(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention with heads: queries, keys and values (B, heads, N, d) to (B, N, C)."""
        key, value = key.to(query.dtype), value.to(query.dtype)
        absent = None if mask is None else additive_mask(mask, query.dtype).expand(-1, 1, query.shape[2], -1)
        gathered: Tensor = F.scaled_dot_product_attention(query, key, value, attn_mask=absent)
        return gathered.transpose(1, 2).flatten(2)
