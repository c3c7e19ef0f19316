"""How LAVT's family puts words into a visual stage (Yang et al., CVPR 2022, sections 3.2 and 3.3).

Legend: `B` batch, `N` pixels of a map, `C` its channels, `T` words, `Ct` their width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.precision import at_least_float32

MASKED = -10_000.0
"""Added to the attention score of a padded word, as in BERT's first code and LAVT's.

It is finite: a text without any word attends evenly instead of giving NaN. For other texts its exponential is 0.
"""


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask (B, T), true or 1 for words, as a term of attention scores: (B, 1, 1, T), 0 for words, else -10000."""
    return (1.0 - mask.to(dtype))[:, None, None, :] * MASKED


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each sample to mean 0 and variance 1 over its pixels.

    Without affine part and running statistics: evaluation uses the current sample's statistics too. PyTorch's own layer
    wants channels first, and the strides that result would keep the attention behind it from the fused kernel.

    Args:
        features: (B, N, C).
        eps: added to the variance.

    Returns:
        (B, N, C), in float32 at least.

    Raises:
        ValueError: N = 1; a single pixel has no variance.
    """
    if features.shape[1] == 1:
        raise ValueError("instance norm over one pixel: the map is too small to have a variance.")
    features = at_least_float32(features)
    centred = features - features.mean(1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + eps)


class WordAttention(nn.Module):
    """Cross-attention from pixels to words.

    Several heads split the channels into contiguous groups. The scale stays C^-0.5, of the full width, as released.

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
    """Pixel-word attention module (equations 1-6): multiplies each pixel's features by the word features it attends to.

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
        """Fuse pixels (B, N, C) with words (B, T, Ct) under their mask (B, T) to multi-modal features (B, N, C)."""
        visual = self.dropout(F.gelu(self.visual(pixels)))
        joined = visual * self.attention(pixels, words, mask)
        mixed: Tensor = self.dropout(F.gelu(self.mix(joined)))
        return mixed


class LanguageGate(nn.Module):
    """Gate of the multi-modal features that enter the next stage (equation 7): tanh(W2 relu(W1 r)) * r."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False)
        self.outer = nn.Linear(width, width, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Gate features (..., C); the shape stays."""
        return F.tanh(self.outer(F.relu(self.inner(features)))) * features
