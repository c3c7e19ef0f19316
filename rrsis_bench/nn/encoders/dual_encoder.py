"""Dual encoders: two towers, one for images and one for text, whose outputs can be compared (CLIP, SigLIP).

Legend: `B` batch, `L` tokens, `D` the towers' common width, `h w` map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rrsis_bench.nn.layers.losses import upsample


@dataclass(frozen=True)
class EncodedText:
    """Expressions as a dual encoder gives them.

    Attributes:
        words: (B, L', D) features of the tokens.
        sentence: (B, D) vector of the expression.
        mask: (B, L') bool, True for real tokens.
    """

    words: Tensor
    sentence: Tensor
    mask: Tensor


class DualEncoder(nn.Module):
    """Frozen towers with LoRA, and the trained scale and bias of their cosine.

    `nn/encoders/build.py` makes one by name. A subclass is built as `Class(name, image_size)` with random weights.

    Args:
        name: of `sizes`.
        image_size: side in pixels of the images; None for that of the weights.

    Attributes:
        sizes: names of the released networks, and their sizes.
        tokenizer: name of its tokenizer, in the form of `InputSpec.tokenizer`.
        cased_tokenizer: name of the tokenizer that keeps upper case, if there is one; else `tokenizer`.
        width: D.
        image_size: side in pixels of the image it takes.
        patch: side in pixels of a patch.
        context: most tokens it takes.
        mean: per channel, subtracted from images in [0, 1].
        std: per channel, divides them after that.
        vision: the image tower.
        text: the text tower.
        log_scale: (1,) logarithm of the cosine's factor.
        bias: (1,) added to it.
    """

    sizes: ClassVar[Mapping[str, Any]]
    tokenizer: ClassVar[str]
    cased_tokenizer: ClassVar[str]
    width: int
    image_size: int
    patch: int
    context: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    vision: Any
    text: Any
    log_scale: nn.Parameter
    bias: nn.Parameter

    @property
    def grid(self) -> int:
        """Side of the map that `encode_image` gives."""
        return self.image_size // self.patch

    def colours(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
        """What `scaled` needs (4, 3, 1, 1) for images that are normalised by another mean and deviation."""
        return torch.tensor((mean, std, self.mean, self.std))[..., None, None]

    def scaled(self, images: Tensor, colours: Tensor) -> Tensor:
        """Normalise and resize images (B, 3, H, W) as this encoder takes them: (B, 3, S, S)."""
        mean, std, own_mean, own_std = colours.to(images.dtype)
        return upsample((images * std + mean - own_mean) / own_std, (self.image_size, self.image_size))

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S), S = `image_size`, to patch features (B, D, h, w)."""
        raise NotImplementedError

    def encode_text(self, ids: Tensor, mask: Tensor, padded: bool = True) -> EncodedText:
        """Expressions to features.

        Args:
            ids: (B, L) token ids, padded at the end.
            mask: (B, L), True for real tokens.
            padded: pad to the length that the text tower was trained with, if that tower attends to padding.
        """
        raise NotImplementedError

    def add_lora(self, rank: int, alpha: float, pooling_head: bool = False) -> None:
        """Freeze both towers and add low-rank updates to all projections of their attention (and SigLIP's text head).

        Args:
            rank: r.
            alpha: an update is scaled by alpha / r.
            pooling_head: also adapt the image tower's pooling head, if it has one; nothing reads that head's output.
        """
        raise NotImplementedError

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load base weights in a layout they are published in.

        Raises:
            MissingResourceError: the tensors are not this network's; the message names the first that do not fit.
        """
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks of both towers; activation checkpointing runs each of them twice."""
        raise NotImplementedError
