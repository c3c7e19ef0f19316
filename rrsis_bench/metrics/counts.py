"""Integers from logits, on the device. `binarise` is the only function that thresholds a prediction.

Shape legend: `B` batch, `n` samples of one native size, `V` views, `h w` pixels of the logits, `Hn Wn` native pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rrsis_bench.errors import UserError
from rrsis_bench.metrics.areas import NOT_FINITE
from rrsis_bench.metrics.protocols import View
from rrsis_bench.nn.layers.nearest import index_on, resize_masks
from rrsis_bench.types import Batch


@torch.no_grad()
def count(logits: Tensor, batch: Batch, input_size: tuple[int, int], views: Sequence[View]) -> Tensor:
    """Count truth, prediction and intersection of every sample under every view.

    Samples of one native size are counted together. The host never waits for the device: a sample whose logits are not
    finite gets `NOT_FINITE` in place of its integers, and `SampleCounts.compute` and `Areas` refuse it.

    Args:
        logits: (B, 1, h, w) foreground logits, any floating type.
        batch: gives the native truths and their sizes.
        input_size: (height, width) of the method's input.
        views: how to bring logits and truth to binary masks.

    Returns:
        (B, V, 3) int64 on the device of the logits: truth, prediction, intersection in pixels.

    Raises:
        UserError: logits of another shape, or a batch without native truths.
    """
    if batch.truths is None or len(batch.sizes) != len(batch):
        raise UserError("a batch without native truths cannot be scored; take it from an evaluation loader.")
    if logits.ndim != 4 or logits.shape[:2] != (len(batch), 1):
        raise UserError(f"logits must have shape ({len(batch)}, 1, h, w), not {tuple(logits.shape)}.")
    values = logits.float()

    def group(part: Tensor, truths: Tensor, size: tuple[int, int], _: Sequence[int]) -> Tensor:
        return _count_group(part, truths, size, input_size, views)

    counted = by_native_size(values, batch, group)
    finite = values.isfinite().flatten(1).all(dim=1)
    return torch.where(finite[:, None, None], counted, NOT_FINITE)


def by_native_size(
    logits: Tensor, batch: Batch, count_group: Callable[[Tensor, Tensor, tuple[int, int], Sequence[int]], Tensor]
) -> Tensor:
    """Count the samples of each native size together, and bring the counts back into the batch's order.

    Args:
        logits: (B, 1, h, w).
        batch: gives the native truths and their sizes.
        count_group: of n samples: their logits, their truths (which may be padded), their native size and their
            positions in the batch; returns (n, ...) counts.

    Returns:
        (B, ...) counts.
    """
    assert batch.truths is not None
    groups: dict[tuple[int, int], list[int]] = {}
    for position, size in enumerate(batch.sizes):
        groups.setdefault(size, []).append(position)
    if len(groups) == 1:
        ((size, positions),) = groups.items()
        return count_group(logits, batch.truths, size, positions)
    blocks, order = [], []
    for size, positions in groups.items():
        rows = index_on(positions, logits.device)
        blocks.append(count_group(logits.index_select(0, rows), batch.truths.index_select(0, rows), size, positions))
        order += positions
    back = sorted(range(len(order)), key=order.__getitem__)
    return torch.cat(blocks).index_select(0, index_on(back, logits.device))


def _count_group(
    logits: Tensor, truths: Tensor, size: tuple[int, int], input_size: tuple[int, int], views: Sequence[View]
) -> Tensor:
    """Count (n, V, 3) samples that share one native size; `truths` may be padded beyond it."""
    native = truths[:, : size[0], : size[1]] != 0
    columns = []
    for view in views:
        target = size if view.size == "native" else view.size
        truth = resize_masks(native, target)
        pred = binarise(logits, target, input_size, view)
        areas = [mask.flatten(1).sum(dim=1, dtype=torch.int64) for mask in (truth, pred, truth & pred)]
        columns.append(torch.stack(areas, dim=1))
    return torch.stack(columns, dim=1)


def binarise(logits: Tensor, target: tuple[int, int], input_size: tuple[int, int], view: View) -> Tensor:
    """Bring logits to the target size by a view's rule and threshold them there.

    Args:
        logits: (n, 1, h, w) float32 foreground logits.
        target: (height, width) wanted.
        input_size: (height, width) of the method's input.
        view: how to bring logits to a mask.

    Returns:
        (n, H, W) bool, True for foreground.
    """
    if view.upsample == "bicubic-probability":
        probability = logits.sigmoid()
        if tuple(probability.shape[-2:]) != tuple(input_size):
            probability = F.interpolate(probability, size=input_size, mode="bicubic", align_corners=True)
        return _warp(probability, target)[:, 0] > view.threshold
    logits = upsampled(logits, target, view)
    # Comparing logits keeps what the sigmoid of a tiny logit would round to 0.5; the logit of 0.5 is exactly 0.
    return logits[:, 0] > float(torch.logit(torch.tensor(view.threshold, dtype=torch.float64)))


def upsampled(logits: Tensor, target: tuple[int, int], view: View) -> Tensor:
    """Logits (n, 1, H, W) at the target size, by a view that upsamples logits."""
    if tuple(logits.shape[-2:]) == target:
        return logits
    corners = view.upsample == "bilinear-corners"
    return F.interpolate(logits, size=target, mode="bilinear", align_corners=corners)


def _warp(image: Tensor, target: tuple[int, int]) -> Tensor:
    """Warp (n, 1, H, W) to `target` as the DETRIS line warps a prediction back to its photograph.

    The affine map takes pixel (0, 0) to pixel (0, 0) and scales by the ratio of the sizes. A resize would shift by half
    a pixel; this map does not. Interpolation is bicubic with a = -0.75, and zero outside the image.
    """
    if tuple(image.shape[-2:]) == target:
        return image
    axes = []
    for source, wanted in zip(image.shape[-2:], target, strict=True):
        position = torch.arange(wanted, device=image.device, dtype=torch.float32) * (source / wanted)
        axes.append(position * (2 / max(source - 1, 1)) - 1)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="zeros", align_corners=True)
