"""Encoders that a method can step into between stages.

LAVT and its descendants fuse language *inside* the visual encoder: what a stage gives is changed before the next stage
sees it. So the encoder is taken apart into a stem, its stages and the steps between them. All maps are channels-last
(B, h, w, C), which is what windows, linear layers and word attention want.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping


class StagedEncoder(nn.Module):
    """A hierarchical visual encoder as stem, stages and reductions.

    Attributes:
        channels: width C_i of each stage's map.
        strides: input pixels per map pixel of each stage.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def stem(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the first stage's input (B, h, w, C)."""
        raise NotImplementedError

    def stage(self, index: int, features: Tensor) -> Tensor:
        """The blocks of one stage: its input to its map (B, h_i, w_i, C_i)."""
        raise NotImplementedError

    def downsample(self, index: int, features: Tensor) -> Tensor:
        """Stage `index`'s (fused) map to the input of stage `index` + 1; the map itself where stages reduce alone."""
        raise NotImplementedError

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take pretrained parameters in any layout this encoder is published in.

        Raises:
            MissingResourceError: the tensors are not this encoder's; the message names the first that do not fit.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of all stages without anything in between, finest first."""
        features = self.stem(images)
        maps: list[Tensor] = []
        for index in range(len(self.channels)):
            if index:
                features = self.downsample(index - 1, features)
            features = self.stage(index, features)
            maps.append(features)
        return maps
