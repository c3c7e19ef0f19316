"""ResNet-50 (arXiv 1512.03385) from torchvision with frozen batch norms, as detectors use it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.nn.weights.files import fit


class ResNet50(nn.Module):
    """The four stages without a classifier. Stem and first stage are frozen, as are all norms, which are buffers.

    Attributes:
        channels: widths of the four maps, at 1/4, 1/8, 1/16 and 1/32 of the image.
    """

    channels = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        whole = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        freeze(self.conv1)
        freeze(self.layer1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode normalised images (B, 3, H, W) as four maps, finest first."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            maps.append(features)
        return maps

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load ImageNet weights by torchvision's names, which timm shares; the classifier is left out.

        Raises:
            MissingResourceError: the tensors are not this network's; the message names the first that do not fit.
        """
        kept = {
            name: value
            for name, value in tensors.items()
            if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
        }
        fit(self, kept, "ResNet-50 weights")
