"""The four losses of RSRefSeg 2.

Legend: `B` batch, `D` width, `K` queries a set, `h w` map of the dual encoder, `H W` pixels.
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
    """Squared cosine of the sets' means, averaged over the batch: (B, K, D) twice."""
    cosine = F.cosine_similarity(first.float().mean(1), second.float().mean(1), dim=-1)
    return cosine.square().mean()


def region_features(places: Tensor, masks: Tensor, label: str) -> Tensor:
    """Mean features of what the truth masks cover, normed.

    Args:
        places: (B, D, h, w).
        masks: (B, H, W) in {0, 1}.
        label: `area` weights a place by the share of it that is covered; `threshold` is the released rule: the mask at
            the places (bilinear, aligned corners) above one half, nothing for an object that is nowhere so.

    Returns:
        (B, D).
    """
    target, size = masks[:, None].float(), (places.shape[-2], places.shape[-1])
    if label == "area":
        weights = F.adaptive_avg_pool2d(target, size)
    else:
        weights = (F.interpolate(target, size, mode="bilinear", align_corners=True) > 0.5).float()
    return F.normalize((places.float() * weights).mean((2, 3)), dim=-1)


def contrastive(seen: Tensor, said: Tensor, log_scale: Tensor, bias: Tensor, keys: Tensor | None) -> Tensor:
    """Image region_features against query sets of all samples on all devices: mean of both cross-entropies.

    Args:
        seen: (B, D) normed features of the region_features.
        said: (B, D) normed means of the second query sets.
        log_scale: (1,) logarithm of the factor.
        bias: (1,) added to all logits; a softmax does not see it.
        keys: (B, 2) of `duplicate_keys`; samples that share one are no negatives of each other. None keeps all.
    """
    seen, said = gather_devices(seen), gather_devices(said)
    logits = log_scale.float().exp() * seen @ said.T + bias.float()
    if keys is not None:
        keys = gather_devices(keys)
        same = (keys[:, None] == keys[None]).any(-1)
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def duplicate_keys(texts: Sequence[str], images: Sequence[str], device: torch.device) -> Tensor:
    """Sentences and images as numbers that are equal where they are: (B, 2) int64."""
    pairs = [(_number(f"text {text}"), _number(f"image {image}")) for text, image in zip(texts, images, strict=True)]
    return torch.tensor(pairs, dtype=torch.int64).to(device, non_blocking=True)


def _number(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=7).digest(), "big")


def gather_devices(own: Tensor) -> Tensor:
    """The same tensor of all devices, in order of rank; only this one's carries gradients. Equal shapes everywhere.

    A loss over all samples reaches each device's parameters through its own samples alone, and DDP takes the mean of
    the devices: the gradient of the own samples is therefore counted once for each device.
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
