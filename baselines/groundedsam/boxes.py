"""Boxes of masks to learn from, and boxes as soft maps.

Legend: `B` samples, `H W` pixels of the input.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

SHARPNESS = 40.0
"""Logit of a soft box per unit of distance from its nearest edge; an image has side 1."""


def target_boxes(masks: Tensor, kind: Literal["whole", "regions"], smallest: int) -> list[Tensor]:
    """Boxes (K, 4) of each mask, centre and size in [0, 1]; the edges are half open.

    Args:
        masks: (B, H, W) in {0, 1}.
        kind: one box around the whole mask, or one for each connected region (of 8 neighbours).
        smallest: pixels below which a region has no box.

    Returns:
        float32 on the masks' device; no boxes for an empty mask.
    """
    height, width = masks.shape[-2:]
    scale = np.array([width, height, width, height], dtype=np.float32)
    found = []
    for mask in masks.cpu().numpy():
        corners = _regions(mask, smallest) if kind == "regions" else _whole(mask)
        left, top, right, bottom = (np.array(corners, dtype=np.float32).reshape(-1, 4) / scale).T
        boxes = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], axis=1)
        found.append(torch.from_numpy(boxes).to(masks.device))
    return found


def _whole(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[tuple[int, int, int, int]]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    return [(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)]


def _regions(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], smallest: int) -> list[tuple[int, int, int, int]]:
    _, _, regions, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [
        (int(left), int(top), int(left + width), int(top + height))
        for left, top, width, height, area in regions[1:]  # the first one is the background
        if area >= smallest
    ]


def soft_box(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, 1, H, W) of boxes (B, 4) left, top, right, bottom: positive inside, with a gradient for each edge."""
    height, width = size
    y = (torch.arange(height, device=boxes.device) + 0.5) / height
    x = (torch.arange(width, device=boxes.device) + 0.5) / width
    left, top, right, bottom = boxes.float()[..., None].unbind(1)
    across = torch.minimum(x - left, right - x)
    down = torch.minimum(y - top, bottom - y)
    return SHARPNESS * torch.minimum(across[:, None, :], down[:, :, None])[:, None]
