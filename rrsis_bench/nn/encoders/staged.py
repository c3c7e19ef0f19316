"""Encoders that a method can step into between stages.

LAVT and its descendants fuse language *inside* the image encoder: they change a stage's map before the next stage reads
it. An encoder here consists of a stem, stages and the reductions between them. All maps are channels-last (B, h, w, C),
as windows, linear layers and word attention want them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from rrsis_bench.nn.encoders.adapted import AdaptedEncoder
from rrsis_bench.nn.layers.recompute import recompute


class StagedEncoder(nn.Module):
    """A hierarchical image encoder as stem, stages and reductions.

    Attributes:
        channels: width C_i of each stage's map.
        strides: input pixels per map pixel of each stage.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def stem(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to the first stage's input (B, h, w, C)."""
        raise NotImplementedError

    def stage(self, index: int, features: Tensor) -> Tensor:
        """Run the blocks of one stage; returns its map (B, h_i, w_i, C_i)."""
        raise NotImplementedError

    def downsample(self, index: int, features: Tensor) -> Tensor:
        """Reduce stage `index`'s (fused) map to the next stage's input; the map itself if stages reduce it."""
        raise NotImplementedError

    def recomputable(self) -> list[nn.Module]:
        """The blocks of all stages, which activation checkpointing may run again."""
        raise NotImplementedError

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load pretrained parameters in any layout that they are published in.

        Raises:
            MissingResourceError: the tensors are not this encoder's; the message names the first that do not fit.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> list[Tensor]:
        """Run all stages without fusion; returns their maps, finest first."""
        features = self.stem(images)
        maps: list[Tensor] = []
        for index in range(len(self.channels)):
            if index:
                features = self.downsample(index - 1, features)
            features = self.stage(index, features)
            maps.append(features)
        return maps


def channels_last(features: Tensor) -> Tensor:
    """Permute a convolution's map (B, C, h, w) to (B, h, w, C)."""
    return features.permute(0, 2, 3, 1)


class AdaptedStages(AdaptedEncoder):
    """A frozen encoder in stages; an adapter changes each stage's output before the next stage sees it.

    The first stage runs without gradients. A trained LayerNorm stands before each adapter; in a transformer block the
    block's own frozen norm takes that place.

    Args:
        trunk: the encoder; its parameters are frozen here.
        adapters: one per stage, called as `adapter(tokens, grid, prefix, *context)`, as in `AdaptedDinov2`.
    """

    trunk: StagedEncoder

    def __init__(self, trunk: StagedEncoder, adapters: Sequence[nn.Module]) -> None:
        super().__init__(trunk)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in trunk.channels)
        self.adapters = nn.ModuleList(adapters)

    def checkpoint_activations(self) -> None:
        """Run the encoder's blocks again in the backward pass; see `nn/layers/recompute.py`."""
        recompute(self.trunk.recomputable())

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the encoder's base weights, see `StagedEncoder.load_tensors`."""
        self.trunk.load_tensors(tensors)

    def forward(
        self,
        images: Tensor,
        context: Mapping[int, Sequence[Tensor | None]] | Sequence[Tensor | None] = (),
    ) -> list[Tensor]:
        """Encode images.

        Args:
            images: (B, 3, H, W).
            context: further arguments of the adapters: the same for all, or by stage.

        Returns:
            one map (B, C_i, h_i, w_i) per stage, finest first.
        """
        maps: list[Tensor] = []
        features = images
        for k, (norm, adapter) in enumerate(zip(self.norms, self.adapters, strict=True)):
            with nullcontext() if k else torch.no_grad():
                features = self.trunk.downsample(k - 1, features) if k else self.trunk.stem(images)
                features = self.trunk.stage(k, features)
            grid = (features.shape[1], features.shape[2])
            given = context[k] if isinstance(context, Mapping) else context
            tokens = norm(features.flatten(1, 2))
            features = features + adapter(tokens, grid, 0, *given).unflatten(1, grid)
            maps.append(features.permute(0, 3, 1, 2))
        return maps
