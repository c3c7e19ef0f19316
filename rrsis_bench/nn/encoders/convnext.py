"""ConvNeXt (arXiv 2201.03545) from timm, in stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timm.models.convnext import ConvNeXt as TimmConvNeXt
from timm.models.convnext import checkpoint_filter_fn
from torch import Tensor, nn

from rrsis_bench.nn.encoders.staged import StagedEncoder, channels_last
from rrsis_bench.nn.weights.files import fit


class ConvNeXt(StagedEncoder):
    """ConvNeXt in four stages, strides 4 to 32; the defaults are ConvNeXt-B.

    Args:
        width: channels of the first stage; each stage doubles them.
        depths: blocks per stage.
        drop_path: stochastic depth of the last block, rising linearly from 0.
    """

    def __init__(self, width: int = 128, depths: Sequence[int] = (3, 3, 27, 3), drop_path: float = 0.3) -> None:
        super().__init__()
        self.channels = tuple(width * 2**i for i in range(len(depths)))
        self.strides = tuple(4 * 2**i for i in range(len(depths)))
        whole = TimmConvNeXt(depths=tuple(depths), dims=self.channels, num_classes=0, drop_path_rate=drop_path)
        self.patches = whole.stem
        self.stages = whole.stages

    def stem(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) as normalised patches (B, H/4, W/4, C)."""
        return channels_last(self.patches(images))

    def stage(self, index: int, features: Tensor) -> Tensor:
        """Run the blocks of one stage on (B, h, w, C)."""
        return channels_last(self.stages[index].blocks(features.permute(0, 3, 1, 2)))

    def recomputable(self) -> list[nn.Module]:
        """The blocks of all stages."""
        return [block for stage in self.stages for block in stage.blocks]

    def downsample(self, index: int, features: Tensor) -> Tensor:
        """Reduce by a norm and a 2x2 convolution: (B, h, w, C) to (B, h/2, w/2, 2C)."""
        return channels_last(self.stages[index + 1].downsample(features.permute(0, 3, 1, 2)))

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load parameters in timm's layout or in the original one; the classifier and its norm are skipped."""
        if any(name.startswith("downsample_layers.") for name in tensors):
            tensors = checkpoint_filter_fn(dict(tensors), self)
        kept = {name: value for name, value in tensors.items() if not name.startswith(("head.", "norm_pre."))}
        renamed = {
            f"patches.{name.removeprefix('stem.')}" if name.startswith("stem.") else name: value
            for name, value in kept.items()
        }
        fit(self, renamed, "ConvNeXt weights")
