"""Dual encoders: two towers, one for images and one for text, whose outputs can be compared (CLIP, SigLIP).

Legend: `B` batch, `L` tokens, `D` the towers' common width, `h w` map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rrsis_bench.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Heard:
    """What a dual encoder makes of expressions.

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

    Attributes:
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
        """Side of the map that `look` gives."""
        return self.image_size // self.patch

    def look(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) of its own size -> places (B, D, h, w)."""
        raise NotImplementedError

    def read(self, ids: Tensor, mask: Tensor, padded: bool = True) -> Heard:
        """Expressions to features.

        Args:
            ids: (B, L) token ids, padded at the end.
            mask: (B, L), True for real tokens.
            padded: pad to the length the tower was trained with, where padding is seen by it.
        """
        raise NotImplementedError

    def add_lora(self, rank: int, alpha: float, pooling_head: bool = False) -> None:
        """Freeze both towers and add low-rank updates to all projections of their attention (and SigLIP's text head).

        Args:
            rank: r.
            alpha: the updates' scale times r.
            pooling_head: also adapt the image tower's pooling head, where it has one; its output is not used.
        """
        raise NotImplementedError

    def load_tensors(self, tensors: Mapping[str, Tensor], what: str) -> None:
        """Take base weights as published; `what` names them in messages.

        Raises:
            MissingResourceError: they are of another network.
        """
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks of both towers: what activation checkpointing runs twice."""
        raise NotImplementedError


def build_dual_encoder(name: str, image_size: int | None = None) -> DualEncoder:
    """A dual encoder by name, with random weights.

    Args:
        name: such as `siglip2-so400m-p16-512` or `clip-b16`.
        image_size: side of its images; None for that of its weights, whose position table is resized otherwise.

    Raises:
        UsageError: an unknown name or a size it cannot take.
    """
    from rrsis_bench.nn.encoders import clip_dual, siglip

    known = [*siglip.SIZES, *clip_dual.SIZES]
    if name not in known:
        raise UsageError(f"unknown dual encoder '{name}'.{did_you_mean(name, known)}")
    built: DualEncoder
    built = siglip.Siglip(name, image_size) if name in siglip.SIZES else clip_dual.ClipDual(name, image_size)
    if built.image_size % built.patch:
        raise UsageError(f"{name}: image size {built.image_size} is no multiple of its patch {built.patch}.")
    return built
