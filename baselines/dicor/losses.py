"""DiCoR's own losses: those of the guide on its grid, and that of the refiner on the pixels where it should act.

Legend: `B` batch, `H W` pixels, `h w` the guide's grid, `K` candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.dicor.guide import Ranking
from rrsis_bench.nn.layers.precision import at_least_float32

SMOOTH = 1e-6
FOCUS_RADII = (6, 12, 18)
"""Pixels that the focus reaches around a small, a middling and a large object."""


@dataclass(frozen=True)
class Target:
    """What the guide should find, from the true masks.

    Attributes:
        near: (B, 1, h, w) bool, places close to the object's centre.
        far: (B, 1, h, w) bool, places well apart from object and distractors.
        distracting: (B, 1, h, w) bool, places on distractors alone.
        centre: (B, 2) row and column of the centroid on the grid.
        share: (B,) of the image that the object covers.
        valid: (B,) bool, whether there is an object.
    """

    near: Tensor
    far: Tensor
    distracting: Tensor
    centre: Tensor
    share: Tensor
    valid: Tensor


@torch.no_grad()
def target(
    masks: Tensor, size: tuple[int, int], distractors: Tensor | None = None, dtype: torch.dtype = torch.float32
) -> Target:
    """The guide's target.

    Args:
        masks: (B, H, W) in {0, 1}.
        size: (h, w) of the grid.
        distractors: (B, H, W) in {0, 1}, other objects of the referent's class; None for none.
        dtype: of the numbers.
    """
    height, width = masks.shape[-2:]
    truth = masks.to(dtype)
    area = truth.sum((1, 2))
    centre = []
    grid = []
    for axis, (full, side) in enumerate(zip((height, width), size, strict=True)):
        place = torch.arange(full, dtype=dtype, device=masks.device)
        mean = (truth.sum(2 - axis) * place).sum(1) / area.clamp(min=1)
        centre.append(((mean + 0.5) * side / full - 0.5).clamp(0, side - 1))
        grid.append(torch.arange(side, dtype=dtype, device=masks.device))
    rows, columns = grid
    share = area / (height * width)
    radius = ((share * (size[0] * size[1])).clamp(min=1e-6) / math.pi).sqrt().clamp(min=1)[:, None, None]
    apart = (rows[:, None] - centre[0][:, None, None]).square() + (columns - centre[1][:, None, None]).square()
    distance = (apart + 1e-12).sqrt()
    valid = area > 0
    support = _touched(truth, size)
    near = (distance <= radius) & valid[:, None, None]
    other = torch.zeros_like(near)
    if distractors is not None:
        touched = _touched(distractors.to(dtype), size).to(dtype)[:, None]
        other = (dilate(touched, 1)[:, 0] > 0) & valid[:, None, None]
    distracting = other & ~support & ~near
    far = (distance >= 2 * radius) & ~support & ~other & ~near & valid[:, None, None]
    return Target(near[:, None], far[:, None], distracting[:, None], torch.stack(centre, 1), share, valid)


def _touched(truth: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells (B, h, w) that a mask (B, H, W) touches."""
    return F.adaptive_avg_pool2d(truth[:, None], size)[:, 0] > 1e-6


def response_loss(response: Tensor, wanted: Target) -> Tensor:
    """The response should be high close to the centre, and low far from it and on distractors.

    Args:
        response: (B, 1, h, w) before the sigmoid.
        wanted: see `Target`.

    Returns:
        scalar.
    """
    low, high = F.softplus(-response), F.softplus(response)
    parts = ((low, wanted.near, 1.0), (high, wanted.far, 1.0), (high, wanted.distracting, 0.5))
    return torch.stack([weight * _mean_over(values, places) for values, places, weight in parts]).sum()


def _mean_over(values: Tensor, places: Tensor) -> Tensor:
    """Mean over images with places of the mean over an image's places; 0 without any."""
    weights = places.to(values.dtype).flatten(1)
    count = weights.sum(1)
    each = (values.flatten(1) * weights).sum(1) / count.clamp(min=1)
    return mean_where(each, count > 1e-6)


def mean_where(values: Tensor, used: Tensor) -> Tensor:
    """Mean of values (B,) where used (B,) is true; 0 if it is true nowhere."""
    weights = used.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


@torch.no_grad()
def winner_target(ranking: Ranking, wanted: Target, reach: float = 2.5, largest: float = 0.05) -> tuple[Tensor, Tensor]:
    """The candidate that should win: the one with the most weight on the object's centre.

    Args:
        ranking: of the candidates.
        wanted: see `Target`.
        reach: largest distance in cells of its peak from the centre.
        largest: share of the image above which an object is not used.

    Returns:
        index (B,), and bool (B,) whether an image is used.
    """
    found = ranking.found
    width = found.maps.shape[-1]
    row, column = wanted.centre.round().long().unbind(1)
    cell = (row * width + column)[:, None, None].expand(-1, found.maps.shape[1], 1)
    weight = torch.gather(found.maps.flatten(2), 2, cell)[..., 0].masked_fill(~found.valid, -1)
    order = torch.arange(weight.shape[1], device=weight.device)
    best = torch.where(weight == weight.amax(1, keepdim=True), order, len(order)).amin(1)
    centre = torch.gather(found.centres, 1, best[:, None, None].expand(-1, 1, 2))[:, 0]
    distance = (centre - wanted.centre).square().sum(1).sqrt()
    real = torch.gather(found.valid, 1, best[:, None])[:, 0]
    return best, real & (distance <= reach) & wanted.valid & (wanted.share <= largest)


def winner_loss(scores: Tensor, best: Tensor, used: Tensor) -> Tensor:
    """Cross-entropy of the scores (B, K) against the candidate that should win, over the images that are used."""
    return mean_where(F.cross_entropy(scores, best, reduction="none"), used)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """The largest value of (B, 1, H, W) in a square of `2 radius + 1` pixels."""
    return F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)


@torch.no_grad()
def focus(probability: Tensor) -> Tensor:
    """Where the refiner should act: around the predicted object, on its outline, and where the prediction is unsure.

    Args:
        probability: (B, 1, H, W) of the coarse prediction.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    inside = (probability > 0.5).to(probability.dtype)
    share = inside.mean((1, 2, 3), keepdim=True)
    small, middling, large = (dilate(inside, radius) for radius in FOCUS_RADII)
    around = torch.where(share < 0.002, small, torch.where(share > 0.02, large, middling))
    edge = dilate(inside, 1) - (1 - dilate(1 - inside, 1))
    unsure = 1 - (2 * probability - 1).abs()
    return (0.7 * around + 0.2 * dilate(edge, 3) + 0.1 * unsure).clamp(0, 1)


def refiner_losses(
    logits: Tensor, delta: Tensor, masks: Tensor, weights: Tensor, class_weights: tuple[float, float] = (0.9, 1.1)
) -> dict[str, Tensor]:
    """The refiner's losses of each sample: right where it should act, silent elsewhere.

    Args:
        logits: (B, 2, H, W) after the correction.
        delta: (B, 2, H, W) the correction.
        masks: (B, H, W) in {0, 1}.
        weights: (B, 1, H, W) from `focus`.
        class_weights: weights of background and object in the cross-entropy.

    Returns:
        `ce`, `dice` and `silence`, each (B,) and unweighted.
    """
    logits = at_least_float32(logits)
    truth = masks.to(logits.dtype).flatten(1)
    factors = torch.stack([logits.new_full((), weight) for weight in class_weights])
    errors = F.cross_entropy(logits, masks.long(), weight=factors, reduction="none").flatten(1)
    acting = weights.to(logits.dtype).flatten(1)
    resting = 1 - acting
    weighted = acting * logits.softmax(1)[:, 1].flatten(1)
    moved = delta.to(logits.dtype).abs().mean(1).flatten(1)
    return {
        "ce": (acting * errors).sum(1) / acting.sum(1).clamp(min=SMOOTH),
        "dice": 1 - (2 * (weighted * truth).sum(1) + SMOOTH) / (weighted.sum(1) + (acting * truth).sum(1) + SMOOTH),
        "silence": (resting * moved).sum(1) / resting.sum(1).clamp(min=SMOOTH),
    }
