"""How LAVT's family puts words into a visual stage (Yang et al., CVPR 2022, sections 3.2 and 3.3).

Legend: `B` batch, `N` pixels of a map, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.precision import at_least_float32

MASKED = -10_000.0
"""Added to the scores of a padded word, as BERT's first code and LAVT's do. Finite, so that a text with no word left
attends evenly instead of giving NaN; for any other text its exponential is exactly 0."""


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) with true or 1 for words, to what is added to attention scores: (B, 1, 1, T), 0 or -10000."""
    return (1.0 - mask.to(dtype))[:, None, None, :] * MASKED


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1 over its pixels: (B, N, C) to the same, in float32 at least.

    No affine part and no running statistics, so the current sample decides in evaluation too. Written on the layout at
    hand: the library's wants channels first, whose strides keep the attention behind it from its fused kernel.

    Raises:
        ValueError: N = 1, where there is no variance.
    """
    if features.shape[1] == 1:
        raise ValueError("instance norm over one pixel: the map is too small for its variance.")
    features = at_least_float32(features)
    centred = features - features.mean(1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + eps)


class WordAttention(nn.Module):
    """Every pixel gathers the words it has to do with.

    With several heads the channels are split into contiguous groups while the scale stays that of the full width,
    C^-0.5, as released.

    Args:
        width: channels C of pixels and output.
        text_width: width Ct of the words.
        heads: attention heads.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**-0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(text_width, width)
        self.value = nn.Linear(text_width, width)
        self.output = nn.Linear(width, width)

    def forward(self, pixels: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            pixels: (B, N, C).
            words: (B, T, Ct).
            mask: (B, T), true or 1 for words, false or 0 for padding.

        Returns:
            (B, N, C).
        """
        present = mask.to(words.dtype)[..., None]
        query = self._split(instance_norm(self.query(pixels)))
        key = self._split(self.key(words) * present)
        value = self._split(self.value(words) * present)
        absent = additive_mask(mask, query.dtype).expand(-1, 1, pixels.shape[1], -1)
        gathered = F.scaled_dot_product_attention(
            query, key.to(query.dtype), value.to(query.dtype), attn_mask=absent, scale=self.scale
        )
        return instance_norm(self.output(gathered.transpose(1, 2).flatten(2)))

    def _split(self, features: Tensor) -> Tensor:
        batch, length, width = features.shape
        return features.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)


class PWAM(nn.Module):
    """Pixel-word attention module: word features of each pixel, multiplied onto its visual features (equations 1-6).

    Args:
        width: channels C.
        text_width: width Ct of the words.
        heads: heads of the word attention.
        dropout: rate after each of the two activations.
    """

    def __init__(self, width: int, text_width: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.visual = nn.Linear(width, width)
        self.attention = WordAttention(width, text_width, heads)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Multi-modal features (B, N, C) of pixels (B, N, C), words (B, T, Ct) and their mask (B, T)."""
        visual = self.dropout(F.gelu(self.visual(pixels)))
        joined = visual * self.attention(pixels, words, mask)
        mixed: Tensor = self.dropout(F.gelu(self.mix(joined)))
        return mixed


class LanguageGate(nn.Module):
    """How much of the multi-modal features flows on into the next stage (equation 7): tanh(W2 relu(W1 r)) * r."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False)
        self.outer = nn.Linear(width, width, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Gated features, of the same shape (..., C)."""
        return F.tanh(self.outer(F.relu(self.inner(features)))) * features
