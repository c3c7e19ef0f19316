"""DINOv2 with register tokens (arXiv 2304.07193, 2309.16588) from timm, frozen, with adapters inside its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import isqrt
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.encoders.adapted import AdaptedEncoder
from rrsis_bench.nn.weights.files import fit

PositionCodes = Literal["antialiased", "offset"]
"""How position codes are resized to another grid: as in the register models, or as in the first DINOv2 models."""
OFFSET = 0.1


def build_dinov2(
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    patch: int = 14,
    grid: int = 37,
    registers: int = 4,
    drop_path: float = 0.0,
) -> VisionTransformer:
    """A DINOv2 vision transformer with random weights; the defaults are timm's `vit_base_patch14_reg4_dinov2`.

    Args:
        width: channels C.
        depth: number of blocks.
        heads: attention heads.
        patch: side of a patch in pixels.
        grid: side of the grid of position codes in patches (37 in the checkpoints).
        registers: register tokens beside the class token.
        drop_path: stochastic depth of the last block, rising linearly from 0.
    """
    return VisionTransformer(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        init_values=1e-5,
        reg_tokens=registers,
        drop_path_rate=drop_path,
        no_embed_class=True,
        num_classes=0,
        global_pool="token",
        dynamic_img_size=True,
    )


def _frozen_part(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens after a block's attention, the same behind its second norm, and what its MLP makes of these."""
    tokens = tokens + block.ls1(block.attn(block.norm1(tokens)))
    normed = block.norm2(tokens)
    return tokens, normed, block.mlp(normed)


class AdaptedDinov2(AdaptedEncoder):
    """A frozen vision transformer; adapters work in parallel with the MLPs of some blocks.

    What lies before the first adapter runs without gradients.

    Args:
        trunk: the transformer; its parameters are frozen here.
        adapters: block index (0-based) -> module called as `adapter(tokens, grid, prefix, *context)`.
        taps: blocks whose outputs are returned, without the final LayerNorm.
        codes: how position codes are resized (bicubically) to the grid of an input. `antialiased` is the official
            register models' way. `offset` is the first models': no antialiasing, a factor (h + 0.1) / side.
    """

    trunk: VisionTransformer

    def __init__(
        self,
        trunk: VisionTransformer,
        adapters: Mapping[int, nn.Module],
        taps: Sequence[int],
        codes: PositionCodes = "antialiased",
    ) -> None:
        super().__init__(trunk)
        self.codes = codes
        self.adapters = nn.ModuleDict({str(index): adapter for index, adapter in adapters.items()})
        self.taps = tuple(taps)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a DINOv2 checkpoint, see `load_dinov2`."""
        load_dinov2(self.trunk, tensors)

    def forward(
        self,
        images: Tensor,
        context: Mapping[int, Sequence[Tensor | None]] | Sequence[Tensor | None] = (),
    ) -> list[Tensor]:
        """Encode images.

        Args:
            images: (B, 3, H, W), normalised; the sides are multiples of the patch.
            context: further arguments of the adapters: the same for all, or by block index.

        Returns:
            one map (B, C, h, w) per tap, then the final one after the last LayerNorm.
        """
        size = self.trunk.patch_embed.patch_size
        grid = (images.shape[-2] // size[0], images.shape[-1] // size[1])
        prefix: int = self.trunk.num_prefix_tokens
        first = min((int(index) for index in self.adapters), default=len(self.trunk.blocks))
        with torch.no_grad():
            tokens = self.trunk.norm_pre(self._embed(images, grid))
        maps = []
        for index, block in enumerate(self.trunk.blocks):
            with torch.no_grad() if index < first else nullcontext():
                tokens, normed, change = self._run(_frozen_part, block, tokens)
                if str(index) in self.adapters:
                    given = context[index] if isinstance(context, Mapping) else context
                    change = change + self.adapters[str(index)](normed, grid, prefix, *given)
                tokens = tokens + block.ls2(change)
            if index in self.taps:
                maps.append(tokens)
        maps.append(self.trunk.norm(tokens))
        return [one[:, prefix:].transpose(1, 2).unflatten(2, grid) for one in maps]

    def _embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        trunk = self.trunk
        patches = trunk.patch_embed(images)
        if self.codes == "antialiased":
            embedded: Tensor = trunk._pos_embed(patches)
            return embedded
        prefix = torch.cat((trunk.cls_token, trunk.reg_token), dim=1).expand(len(images), -1, -1)
        return torch.cat((prefix, patches.flatten(1, 2) + offset_codes(trunk.pos_embed, grid)), dim=1)


def offset_codes(codes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize position codes (1, N, C) of a square grid to another grid (h, w), as the first DINOv2 models do.

    Returns:
        (1, h * w, C); the codes themselves if the grid is theirs.
    """
    side = isqrt(codes.shape[1])
    if grid == (side, side):
        return codes
    square = codes.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factors = ((grid[0] + OFFSET) / side, (grid[1] + OFFSET) / side)
    return F.interpolate(square, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)


def timm_layout(trunk: VisionTransformer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv2 checkpoint in timm's or the official layout, under timm's names.

    The official file's mask token, which only pre-training uses, is dropped. The class token's position code is added
    to that token. Position codes of another grid are resized.
    """
    converted: dict[str, Tensor] = checkpoint_filter_fn(dict(tensors), trunk)
    return converted


def load_dinov2(trunk: VisionTransformer, tensors: Mapping[str, Tensor]) -> None:
    """Load a DINOv2 checkpoint in timm's or the official layout; position codes of another grid are resized.

    Raises:
        MissingResourceError: the tensors are not this transformer's.
    """
    fit(trunk, timm_layout(trunk, tensors), "DINOv2 weights")
