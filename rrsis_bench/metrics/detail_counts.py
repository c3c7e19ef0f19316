"""Counts the integers of `metrics.detail` on the device. The host never waits for it.

Shape legend: `B` batch, `n` samples of one native size or image, `K` instances of an image, `H W` native pixels,
`D` columns of `detail.COLUMNS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rrsis_bench.metrics.counts import by_native_size, upsampled
from rrsis_bench.metrics.detail import BINS, EDGE_SHARE, OTHERS, SHAPE
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.nn.layers.nearest import index_on
from rrsis_bench.types import Batch

_EXACT = 2**24
"""The largest sum of ones that float32 holds exactly."""


@dataclass(frozen=True)
class ImageInstances:
    """All instances that expressions of one image refer to.

    Attributes:
        rows: positions in the batch of the n samples that show the image.
        masks: (K, H, W) bool, on the device of the logits.
        same: (n, K) bool, True where an instance has the category of the sample's referent.
    """

    rows: Sequence[int]
    masks: Tensor
    same: Tensor


@torch.no_grad()
def count_detail(logits: Tensor, batch: Batch, instances: Sequence[ImageInstances]) -> Tensor:
    """Count the detail of every sample at native size.

    The histogram is of the logits that `counts.count` thresholds: its bins above 0.5 add up to the prediction.

    Args:
        logits: (B, 1, h, w) foreground logits, any floating type.
        batch: gives the native truths and their sizes.
        instances: the instances of those images of the batch that have several.

    Returns:
        (B, D) int64 on the device of the logits.
    """
    assert batch.truths is not None
    of_image = {row: one for one in instances for row in one.rows}

    def group(part: Tensor, truths: Tensor, size: tuple[int, int], positions: Sequence[int]) -> Tensor:
        native = truths[:, : size[0], : size[1]] != 0
        values = upsampled(part, size, NATIVE)[:, 0]
        pred = values > 0
        others = torch.zeros(len(positions), len(OTHERS), dtype=torch.int64, device=part.device)
        place = {position: k for k, position in enumerate(positions)}
        for one in {id(of_image[row]): of_image[row] for row in positions if row in of_image}.values():
            rows = index_on([place[row] for row in one.rows], part.device)
            found = _others(pred.index_select(0, rows), native.index_select(0, rows), one.masks, one.same)
            others.index_copy_(0, rows, found)
        return torch.cat([_shape(values, pred, native), others, histogram(values, native)], dim=1)

    with torch.autocast(logits.device.type, enabled=False):  # a product in half precision would round the counts
        return by_native_size(logits.float(), batch, group)


def histogram(logits: Tensor, truth: Tensor) -> Tensor:
    """Count pixels by truth and bin of probability.

    Args:
        logits: (n, H, W) float32.
        truth: (n, H, W) bool.

    Returns:
        (n, 2 * BINS) int64: the bins outside the truth, then those inside.
    """
    # The sign of the logit decides between the bins below and above 0.5, since that is how masks are binarised.
    least = (logits > 0).to(torch.uint8).mul_(BINS // 2).add_(1)
    bins = torch.maximum(logits.sigmoid().mul_(BINS).ceil_().to(torch.uint8), least)
    bins = torch.minimum(bins, least.add_(BINS // 2 - 1)).add_(truth.to(torch.uint8), alpha=BINS).sub_(1)
    places = bins.flatten(1).long()
    counted = torch.zeros(len(logits), 2 * BINS, dtype=torch.int64, device=logits.device)
    return counted.scatter_add_(1, places, torch.ones_like(places[:1, :1]).expand_as(places))


def _shape(logits: Tensor, pred: Tensor, truth: Tensor) -> Tensor:
    """(n, 5) int64: the columns `detail.SHAPE`."""
    peak = logits.flatten(1).argmax(dim=1, keepdim=True)  # of several, the first in reading order
    both = torch.stack([pred, truth])
    boxes = _boxes(both)
    shared = (torch.minimum(boxes[0, :, 2:], boxes[1, :, 2:]) - torch.maximum(boxes[0, :, :2], boxes[1, :, :2])).clamp(
        0
    )
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    box_inter = shared.prod(dim=1)
    edges = boundary(both)
    edge_inter, edge_union = ((found).flatten(1).sum(dim=1) for found in (edges[0] & edges[1], edges[0] | edges[1]))
    hit = truth.flatten(1).gather(1, peak)[:, 0].long()
    columns = [hit, box_inter, areas.sum(dim=0) - box_inter, edge_inter, edge_union]
    assert len(columns) == len(SHAPE)
    return torch.stack(columns, dim=1)


def _boxes(masks: Tensor) -> Tensor:
    """Tight boxes (..., 4) of masks (..., H, W): top, left, bottom, right, the ends exclusive; zeros if empty."""
    ends = []
    for axis in (-1, -2):
        line = masks.view(torch.uint8).amax(dim=axis)  # many times as fast as `any` on a CPU
        some, length = line.amax(dim=-1) > 0, line.shape[-1]
        first, last = line.argmax(dim=-1), length - line.flip(-1).argmax(dim=-1)
        ends += [first, torch.where(some, last, 0)]
    top, bottom, left, right = ends
    return torch.stack([top, left, bottom, right], dim=-1)


def boundary(masks: Tensor) -> Tensor:
    """The boundary of masks: their pixels whose distance to the outside is at most 2 % of the image's diagonal.

    Cheng et al. 2021: the mask minus its erosion by a square; what lies beyond the image counts as outside.

    Args:
        masks: (..., H, W) bool.

    Returns:
        (..., H, W) bool.
    """
    height, width = masks.shape[-2:]
    distance = max(1, round(EDGE_SHARE * math.hypot(height, width)))
    if min(height, width) <= 2 * distance:
        return masks
    inner = _runs(_runs(masks, -1, 2 * distance + 1), -2, 2 * distance + 1)
    found = masks.clone()
    found[..., distance:-distance, distance:-distance] &= ~inner
    return found


def _runs(masks: Tensor, axis: int, length: int) -> Tensor:
    """Whether `length` pixels from each on are all foreground; the axis shrinks by length - 1."""
    covered, size = 1, masks.shape[axis]
    while covered < length:  # windows of doubled length: the cost grows with the logarithm of the length
        step = min(covered, length - covered)
        covered += step
        left = size - covered + 1
        masks = masks.narrow(axis, 0, left) & masks.narrow(axis, step, left)
    return masks


def _others(pred: Tensor, truth: Tensor, masks: Tensor, same: Tensor) -> Tensor:
    """The columns `detail.OTHERS` of the n samples of an image.

    An instance whose IoU with the truth is 0.5 or more is the referent itself, annotated once more.

    Args:
        pred: (n, H, W) bool.
        truth: (n, H, W) bool.
        masks: (K, H, W) bool.
        same: (n, K) bool.

    Returns:
        (n, 6) int64.
    """
    real = torch.float32 if truth[0].numel() < _EXACT else torch.float64
    instances = masks.flatten(1).to(real)
    outside = (pred & ~truth).flatten(1)
    areas = instances.sum(dim=1).long()
    in_pred, beyond, in_truth = (
        (side.flatten(1).to(real) @ instances.T).long() for side in (pred, outside, truth)
    )  # (n, K)
    union = truth.flatten(1).sum(dim=1, keepdim=True) + areas - in_truth
    other = 2 * in_truth < union
    most, which = torch.where(other, in_pred, -1).max(dim=1)
    found = other.any(dim=1)
    by_category = [
        (((other & kind).to(real) @ instances > 0) & outside).sum(dim=1) for kind in (same, ~same)
    ]  # a pixel of two instances counts once
    columns = [
        other.sum(dim=1),
        *by_category,
        torch.where(found, most, 0),
        torch.where(found, areas[which], 0),
        (other & (2 * beyond > areas - in_truth)).sum(dim=1),
    ]
    assert len(columns) == len(OTHERS)
    return torch.stack(columns, dim=1)
