"""The four losses of RSRefSeg 2.

Legend: `B` batch, `D` width, `K` queries per set, `h w` map of the dual encoder, `H W` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

DICE_EPSILON = 1e-3


def squared_dice(logits: Tensor, target: Tensor) -> Tensor:
    """V-Net's Dice loss: 1 - 2 sum(p m) / (sum p^2 + sum m^2 + 2 eps) per sample, averaged over the batch.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) in {0, 1}.
    """
    probability, truth = logits.float().sigmoid().flatten(1), target.flatten(1)
    shared = 2 * (probability * truth).sum(1)
    sizes = probability.square().sum(1) + truth.square().sum(1) + 2 * DICE_EPSILON
    return (1 - shared / sizes).mean()


def decorrelation(first: Tensor, second: Tensor) -> Tensor:
    """Squared cosine of the means of two query sets (B, K, D), averaged over the batch."""
    cosine = F.cosine_similarity(first.float().mean(1), second.float().mean(1), dim=-1)
    return cosine.square().mean()


def region_features(features: Tensor, masks: Tensor, label: str) -> Tensor:
    """Mean features of the positions under the truth masks, normed.

    Args:
        features: (B, D, h, w).
        masks: (B, H, W) in {0, 1}.
        label: `area` weights a position by its covered share. `threshold` is the released rule: a position counts if
            the mask, resized bilinearly with aligned corners, exceeds one half there. Small objects may have none.

    Returns:
        (B, D).
    """
    target, size = masks[:, None].float(), (features.shape[-2], features.shape[-1])
    if label == "area":
        weights = F.adaptive_avg_pool2d(target, size)
    else:
        weights = (F.interpolate(target, size, mode="bilinear", align_corners=True) > 0.5).float()
    return F.normalize((features.float() * weights).mean((2, 3)), dim=-1)


def contrastive(regions: Tensor, queries: Tensor, log_scale: Tensor, bias: Tensor, keys: Tensor | None) -> Tensor:
    """Contrast image regions with query sets of all samples on all devices: mean of both cross-entropies.

    Args:
        regions: (B, D) normed features of the image regions.
        queries: (B, D) normed means of the second query sets.
        log_scale: (1,) logarithm of the factor.
        bias: (1,) added to all logits, without effect on a softmax.
        keys: (B, 2) of `duplicate_keys`; samples with a common key are no negatives of each other. None ignores keys.
    """
    regions, queries = gather_devices(regions), gather_devices(queries)
    logits = log_scale.float().exp() * regions @ queries.T + bias.float()
    if keys is not None:
        keys = gather_devices(keys)
        same = (keys[:, None] == keys[None]).any(-1)
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def duplicate_keys(texts: Sequence[str], images: Sequence[str], device: torch.device) -> Tensor:
    """Numbers (B, 2) int64 of sentences and images: equal sentences and equal images have equal numbers."""
    pairs = [(_number(f"text {text}"), _number(f"image {image}")) for text, image in zip(texts, images, strict=True)]
    return torch.tensor(pairs, dtype=torch.int64).to(device, non_blocking=True)


def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=7).digest(), "big")


def gather_devices(own: Tensor) -> Tensor:
    """Join a tensor of equal shape from all devices, in order of rank; only this device's part carries gradients.

    A loss over all samples reaches each device's parameters only through that device's samples, and DDP averages the
    gradients over the devices. The gradient is therefore multiplied by the number of devices.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return own
    world = distributed.get_world_size()
    parts = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(parts, own.detach().contiguous())
    if own.requires_grad:
        own = own.clone()
        own.register_hook(lambda gradient: gradient * world)  # type: ignore[no-untyped-call]  # torch's own gap
    parts[distributed.get_rank()] = own
    return torch.cat(parts)
