"""LAVT's segmentation decoder (section 3.4) and the two-class losses of its family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.nn.layers.precision import at_least_float32, full_precision
from rrsis_bench.nn.layers.upconv import conv_of_enlarged


class DecoderStep(nn.Module):
    """Two rounds of 3x3 convolution, batch norm and ReLU on a joined map.

    Args:
        joined: channels of the upsampled map and the finer one together.
        width: output channels.
    """

    def __init__(self, joined: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(joined, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, fine: Tensor, align_corners: bool = True) -> Tensor:
        """Enlarge a map (B, C, h', w'), join a finer one (B, D, h, w) with it, and convolve: (B, width, h, w)."""
        size = (fine.shape[-2], fine.shape[-1])
        features = conv_of_enlarged(self.conv1, coarse, size, align_corners, beside=fine)
        features = F.relu(self.bn1(features), inplace=True)
        return F.relu(self.bn2(self.conv2(features)), inplace=True)


class LAVTDecoder(nn.Module):
    """Decodes from coarse to fine: upsample, join with the next finer map, convolve.

    Args:
        channels: widths of the maps, finest first.
        width: hidden channels; LAVT has half of the coarsest map's.
        classes: output channels (background, object).
    """

    def __init__(self, channels: Sequence[int], width: int, classes: int = 2) -> None:
        super().__init__()
        coarsest, *finer = reversed(channels)
        below = [coarsest] + [width] * (len(finer) - 1)
        self.steps = nn.ModuleList(DecoderStep(a + b, width) for a, b in zip(below, finer, strict=True))
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode maps (B, C_i, h_i, w_i), finest first, to class logits (B, classes, h_1, w_1)."""
        *finer, features = maps
        for step, finer_map in zip(self.steps, reversed(finer), strict=True):
            features = step(features, finer_map)
        # In full precision: half precision would round away differences between the two classes.
        with full_precision(features.device):
            logits: Tensor = self.classify(at_least_float32(features))
        return logits


def upsample_aligned(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) to (B, C, *size), bilinearly with aligned corners, as the family does everywhere."""
    return F.interpolate(features, size, mode="bilinear", align_corners=True)


def two_class_cross_entropy(logits: Tensor, masks: Tensor, class_weights: Sequence[float] = (0.9, 1.1)) -> Tensor:
    """Cross entropy over background and object: a weighted mean over pixels, divided by the sum of their weights.

    Args:
        logits: (B, 2, H, W).
        masks: (B, H, W) in {0, 1}.
        class_weights: weights of background and object.

    Returns:
        scalar, in float32 at least.
    """
    logits = at_least_float32(logits)
    # Made on the device: a list on the host would be copied over in each step.
    weights = torch.stack([logits.new_full((), weight) for weight in class_weights])
    return F.cross_entropy(logits, masks.long(), weight=weights)


def two_class_dice(logits: Tensor, masks: Tensor, reduction: str = "sum", smooth: float = 1e-6) -> Tensor:
    """1 - Dice of background and of object per sample (RMSIN and FIANet, released code).

    Args:
        logits: (B, 2, H, W).
        masks: (B, H, W) in {0, 1}.
        reduction: `sum` over samples and classes, as released, which grows with the batch; or `mean`.
        smooth: added to numerator and denominator.

    Returns:
        scalar, in float32 at least.
    """
    logits = at_least_float32(logits)
    probability = logits.softmax(1).flatten(2)
    objects = masks.to(logits.dtype).flatten(1)
    truth = torch.stack([1 - objects, objects], 1)
    shared = (probability * truth).sum(2)
    missed = 1 - (2 * shared + smooth) / (probability.sum(2) + truth.sum(2) + smooth)
    return missed.sum() if reduction == "sum" else missed.mean()
