"""Swin Transformer on timm's layers, with the window rules of the original detection code.

timm differs in two ways from the code that LAVT's family was trained with. Both change the results of a map that is no
multiple of the window (at 480x480 the last stage's: 15x15 in windows of 12):

* timm rolls a map and then pads it; the original pads (right and bottom, zeros) and then rolls;
* timm shrinks the window and drops the shift if the map is no larger than the window; the original never does.

Legend: `B` images, `h w` map, `W` windows per image, `N` pixels per window, `C` channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from timm.layers import PatchEmbed
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.encoders.staged import StagedEncoder
from rrsis_bench.nn.layers.init import init_transformer
from rrsis_bench.nn.weights.files import fit, strip_prefixes

_BLOCKED = -100.0
_TABLE = "relative_position_bias_table"


class FusedWindowAttention(WindowAttention):  # type: ignore[misc]  # timm carries no types
    """timm's window attention, with its parameters, through the fused kernel."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside windows.

        Args:
            x: (B*W, N, C).
            mask: additive (W, N, N), or None.

        Returns:
            (B*W, N, C).
        """
        windows, pixels, width = x.shape
        qkv = self.qkv(x).view(windows, pixels, 3, self.num_heads, -1)
        # Heads come first, in the type of the scores: no tensor of (W, heads, N, N) is transposed or cast.
        table = self.relative_position_bias_table.to(qkv.dtype)
        bias = table.index_select(0, self.relative_position_index.flatten()).T.contiguous().view(1, -1, pixels, pixels)
        if mask is not None:
            bias = bias + mask.to(bias.dtype)[:, None]
        if mask is None or len(mask) == windows:
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            # An image's windows join the heads' axis: all images share the bias of (window, head) without a copy.
            per_image = qkv.unflatten(0, (-1, len(mask)))
            query, key, value = per_image.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
            bias = bias.flatten(0, 1)[None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.reshape(windows, self.num_heads, pixels, -1).transpose(1, 2).reshape(windows, pixels, width)
        projected: Tensor = self.proj(mixed)
        return projected


class SwinBlock(SwinTransformerBlock):  # type: ignore[misc]  # timm carries no types
    """timm's block, with its parameters, that pads before it rolls and keeps window and shift at every map size."""

    def __init__(self, width: int, heads: int, window: int, shift: int, drop_path: float, mlp_ratio: float) -> None:
        # With `always_partition` and `dynamic_mask`, timm derives nothing from the resolution.
        super().__init__(
            dim=width,
            input_resolution=window,
            num_heads=heads,
            window_size=window,
            shift_size=shift,
            always_partition=True,
            dynamic_mask=True,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        self.attn = FusedWindowAttention(width, num_heads=heads, window_size=window)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on a map (B, h, w, C)."""
        x = x + self.drop_path1(self._windows(self.norm1(x)))
        fed: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return fed

    def _windows(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        size, shift = self.window_size, self.shift_size[0]
        x = F.pad(x, (0, 0, 0, -width % size[1], 0, -height % size[0]))
        padded = (x.shape[1], x.shape[2])
        if shift:
            x = torch.roll(x, (-shift, -shift), (1, 2))
        windows = window_partition(x, size).flatten(1, 2)
        mask = region_mask(padded, size[0], shift, x) if shift else None
        windows = self.attn(windows, mask).unflatten(1, size)
        x = window_reverse(windows, size, *padded)
        if shift:
            x = torch.roll(x, (shift, shift), (1, 2))
        cropped: Tensor = x[:, :height, :width]
        return cropped


def region_mask(size: tuple[int, int], window: int, shift: int, like: Tensor) -> Tensor:
    """Attention mask between pixels that only the roll brought into one window.

    Args:
        size: padded map (h, w), multiples of the window.
        window: window side in pixels.
        shift: pixels rolled.
        like: tensor that gives type and device.

    Returns:
        (W, N, N), -100 between pixels of different regions, else 0.
    """

    def regions(length: int) -> Tensor:
        place = torch.arange(length, device=like.device)
        return (place >= length - window).long() + (place >= length - shift)

    labels = 3 * regions(size[0])[:, None] + regions(size[1])
    labels = window_partition(labels[None, :, :, None], (window, window)).flatten(1)
    mask: Tensor = (labels[:, None] != labels[:, :, None]).to(like.dtype) * _BLOCKED
    return mask


class SwinStage(nn.Module):
    """The reduction into a stage, and the stage's blocks, under timm's names."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)


class Swin(StagedEncoder):
    """Swin Transformer; state-dict names are timm's. The defaults are Swin-B with windows of 12.

    Args:
        width: channels of the first stage; each stage doubles them.
        depths: blocks per stage.
        heads: attention heads per stage.
        window: window side in pixels; every second block is shifted by half of it.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        patch: side of a patch in pixels; images are padded right and bottom to a multiple.
        mlp_ratio: hidden width of the feed-forward layers over C.
    """

    def __init__(
        self,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 12,
        drop_path: float = 0.3,
        patch: int = 4,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.channels = tuple(width * 2**i for i in range(len(depths)))
        self.strides = tuple(patch * 2**i for i in range(len(depths)))
        self.window = window
        self.patch_embed = PatchEmbed(
            None,
            patch,
            3,
            width,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
            strict_img_size=False,
            dynamic_img_pad=True,
        )
        last = max(1, sum(depths) - 1)
        stages, done = [], 0
        for i, (channels, depth) in enumerate(zip(self.channels, depths, strict=True)):
            blocks = [
                SwinBlock(channels, heads[i], window, window // 2 * (k % 2), drop_path * (done + k) / last, mlp_ratio)
                for k in range(depth)
            ]
            merging = PatchMerging(channels // 2) if i else nn.Identity()
            stages.append(SwinStage(merging, blocks))
            done += depth
        self.layers = nn.ModuleList(stages)
        self.apply(init_transformer)

    def stem(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) as normalised patches (B, ceil(H/4), ceil(W/4), C)."""
        patches: Tensor = self.patch_embed(images)
        return patches

    def stage(self, index: int, features: Tensor) -> Tensor:
        """Run the blocks of one stage on (B, h, w, C)."""
        mapped: Tensor = self._stage(index).blocks(features)
        return mapped

    def recomputable(self) -> list[nn.Module]:
        """The blocks of all stages."""
        return [block for index in range(len(self.channels)) for block in self._stage(index).blocks]

    def downsample(self, index: int, features: Tensor) -> Tensor:
        """Merge patches: (B, h, w, C) to (B, ceil(h/2), ceil(w/2), 2C)."""
        merged: Tensor = self._stage(index + 1).downsample(features)
        return merged

    def _stage(self, index: int) -> SwinStage:
        return cast("SwinStage", self.layers[index])

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load parameters in timm's layout or in the original one (`swin_base_patch4_window12_384_22k.pth`).

        Classifier head, final norm and stored index or mask buffers are skipped. Bias tables of another window are
        resized bicubically.
        """
        known = _without_extras(strip_prefixes(tensors, ("module.", "backbone.", "encoder.")))
        if any(name.startswith("layers.0.downsample.") for name in known):
            known = {_to_later_stage(name): value for name, value in known.items()}
        own = self.state_dict()
        for name, value in known.items():
            if name.endswith(_TABLE) and name in own and value.shape[0] != own[name].shape[0]:
                known[name] = resize_bias_table(value, 2 * self.window - 1)
        fit(self, known, "Swin weights")


def _without_extras(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    buffers, tops = ("relative_position_index", "attn_mask"), ("head.", "norm.")
    return {name: value for name, value in tensors.items() if not name.endswith(buffers) and not name.startswith(tops)}


def _to_later_stage(name: str) -> str:
    return re.sub(
        r"^layers\.(\d+)\.downsample\.", lambda match: f"layers.{int(match.group(1)) + 1}.downsample.", name, count=1
    )


def resize_bias_table(table: Tensor, side: int) -> Tensor:
    """Resize a relative position bias table (S*S, heads) bicubically to (side*side, heads)."""
    old = round(table.shape[0] ** 0.5)
    square = table.T.reshape(1, -1, old, old)
    return F.interpolate(square, (side, side), mode="bicubic", align_corners=False).flatten(2)[0].T.contiguous()
