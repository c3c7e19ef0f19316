"""Stage 2: from a box to a mask, by a point of its own, SAM, and a refined boundary.

Legend: `U` photographs, `B` boxes, `H W` pixels of the input, `S` side of the segmenter's input.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.pslgsam.boundary import refine, window_of
from baselines.pslgsam.options import PSLGSAMOptions
from baselines.pslgsam.point import find_point
from rrsis_bench.nn.encoders.sam import ImageFeatures, PromptableSegmenter
from rrsis_bench.nn.layers.losses import upsample
from rrsis_bench.types import InputSpec

SURE = 8.0  # logits of a refined mask
OUTSIDE = -10.0  # logits beyond the box of `point-clip`
LEAST_SIDE = 2.0  # pixels of the segmenter's input that a box measures at least


def outline(
    segmenter: PromptableSegmenter,
    images: Tensor,
    features: ImageFeatures,
    boxes: Tensor,
    image_of: Tensor,
    options: PSLGSAMOptions,
    spec: InputSpec,
) -> Tensor:
    """Outline what boxes hold.

    Args:
        segmenter: outlines.
        images: (U, 3, H, W) normalised.
        features: of the same photographs, from the segmenter.
        boxes: (B, 4) xyxy in [0, 1].
        image_of: (B,) photograph of each box.
        options: all choices.
        spec: how the images are normalised.

    Returns:
        logits (B, 1, H, W).
    """
    if images.is_meta:  # where FLOPs are counted: the steps on 8-bit images have none
        options = replace(options, point="none" if options.point == "none" else "centre", mbo=False)
    height, width = images.shape[-2:]
    pictures = eight_bit(images, spec) if options.point == "cfpg" or options.refines else []
    scaled = boxes.float() * boxes.new_tensor((width, height, width, height), dtype=torch.float32)
    points = choose_points(pictures, scaled, image_of, options)
    factor = scaled.new_tensor((segmenter.image_size / width, segmenter.image_size / height))
    logits = prompt_segmenter(segmenter, features.select(image_of), points, scaled, factor, options)
    logits = upsample(logits.float(), (height, width))
    if options.prompt == "point-clip":
        logits = logits.masked_fill(~inside(grown(scaled, options.clip_margin), (height, width)), OUTSIDE)
    return refined(pictures, logits, image_of, options) if options.refines else logits


def prompt_segmenter(
    segmenter: PromptableSegmenter,
    features: ImageFeatures,
    points: Tensor | None,
    boxes: Tensor,
    factor: Tensor,
    options: PSLGSAMOptions,
) -> Tensor:
    """Logits (B, 1, 4g, 4g) of points (B, 2) and boxes (B, 4) in pixels of the input, which `factor` (2,) scales to S.

    The library adds half a pixel to points itself.
    """
    labels = None
    if points is not None:
        points = (points * factor - 0.5)[:, None]
        labels = torch.ones(len(points), 1, dtype=torch.int64, device=points.device)
    given = None
    if options.prompt == "box":
        given = at_least(grown(boxes, options.expand) * factor.repeat(2), LEAST_SIDE)
    return segmenter.segment_prompted(features, points, labels, given)


def choose_points(
    pictures: list[NDArray[np.uint8]], boxes: Tensor, image_of: Tensor, options: PSLGSAMOptions
) -> Tensor | None:
    """Points (B, 2) in pixels of the input for boxes (B, 4) in the same; None without points."""
    if options.point == "none":
        return None
    if options.point == "centre":
        return (boxes[:, :2] + boxes[:, 2:]) / 2
    choices = options.point_choices()
    found = []
    for (left, top, right, bottom), number in zip(boxes.tolist(), image_of.tolist(), strict=True):
        point = find_point(pictures[number], (left, top, right, bottom), choices)
        found.append((point.x, point.y))
    return boxes.new_tensor(found)


def refined(pictures: list[NDArray[np.uint8]], logits: Tensor, image_of: Tensor, options: PSLGSAMOptions) -> Tensor:
    """Logits (B, 1, H, W) of masks with a moved boundary.

    They are sure in the window that the step looks at. All others stay, also those of a mask that cannot be refined.
    """
    choices = options.boundary_choices(max(logits.shape[-2:]))
    masks = (logits[:, 0] > 0).cpu().numpy()
    changed = logits.clone()
    for number, (mask, image) in enumerate(zip(masks, image_of.tolist(), strict=True)):
        found = refine(pictures[image], mask, choices)
        if found is not None:
            window = window_of(mask, choices)
            sure = torch.from_numpy(np.where(found[window], SURE, -SURE).astype(np.float32))
            changed[number, 0][window] = sure.to(logits.device, logits.dtype)
    return changed


def eight_bit(images: Tensor, spec: InputSpec) -> list[NDArray[np.uint8]]:
    """Normalised images (U, 3, H, W) as 8-bit RGB, (H, W, 3) each."""
    mean, std = images.new_tensor((spec.mean, spec.std), dtype=torch.float32)[..., None, None]
    pixels = ((images.float() * std + mean) / spec.scale).round().clamp(0, 255).to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def grown(boxes: Tensor, share: float) -> Tensor:
    """Boxes (B, 4) xyxy, larger by a share of their size on each side."""
    extra = (boxes[:, 2:] - boxes[:, :2]) * share
    return torch.cat((boxes[:, :2] - extra, boxes[:, 2:] + extra), 1)


def at_least(boxes: Tensor, side: float) -> Tensor:
    """Boxes (B, 4) xyxy whose shorter sides grow to a length round their middle."""
    low, high = boxes[:, :2], boxes[:, 2:]
    extra = (side - (high - low)).clamp(min=0) / 2
    return torch.cat((low - extra, high + extra), 1)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (B, 1, H, W) whose middle lies in a box (B, 4) xyxy in pixels."""
    x = torch.arange(size[1], device=boxes.device) + 0.5
    y = torch.arange(size[0], device=boxes.device) + 0.5
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    columns = (x >= left) & (x < right)
    rows = (y >= top) & (y < bottom)
    return (rows[:, :, None] & columns[:, None])[:, None]


def tuned_parameters(segmenter: PromptableSegmenter, prompts: bool) -> list[nn.Parameter]:
    """What decoder tuning trains: the mask decoder but for what one mask never reaches, and embeddings of prompts.

    Args:
        segmenter: whose parameters.
        prompts: also the embeddings of the foreground point and of a box's corners.
    """
    network = segmenter.network
    idle = {id(parameter) for parameter in segmenter.idle()}
    chosen = [parameter for parameter in network.mask_decoder.parameters() if id(parameter) not in idle]
    if prompts:
        encoder = network.prompt_encoder
        tables = getattr(encoder, "point_embed", None) or encoder.point_embeddings
        # SAM 2 has one table of four rows, SAM v1 a module for each; the first is the background point.
        chosen += [tables.weight] if isinstance(tables, nn.Embedding) else list(tables[1:].parameters())
    return chosen
