"""CFPG: one foreground point of a box, by clustering its pixels (PSLG-SAM, section on the point prompt).

The paper names the order of the steps; every number and rule is ours (`PointChoices`).

Legend: `H W` pixels of the image, `h w` pixels of the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Labels = NDArray[np.int32]

ROUNDS = 100  # most rounds of k-means
SHIFT = 1e-4  # of the pixels' variance: the centres stand still
CLOSER = 1e-12  # a later start of k-means wins only if its inertia is lower by more
SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class PointChoices:
    """Choices of CFPG.

    Attributes:
        space: colour space of the clustering.
        foreground: cluster taken for the object: `border` (smaller share of its own pixels on the crop's rim), `ring`
            (fewer pixels there), `centre` (more pixels in the crop's middle half) or `minority`.
        tries: starts of k-means.
        seed: of the generator that draws the starts.
        opening: times that the foreground is opened with a 3x3 square.
        peak: a watershed seed is deeper than this share of its component's deepest pixel.
        grow: times that the foreground is dilated for the watershed's unknown zone.
        min_area: least area of a region as a share of the crop.
        place: pixel of the region: next to its `centroid`, or `deepest` inside.
        max_crop: longest side in pixels that a crop is worked on with; larger ones are shrunk.
    """

    space: Literal["rgb", "lab"] = "rgb"
    foreground: Literal["border", "ring", "centre", "minority"] = "border"
    tries: int = 3
    seed: int = 0
    opening: int = 1
    peak: float = 0.5
    grow: int = 2
    min_area: float = 0.2
    place: Literal["centroid", "deepest"] = "centroid"
    max_crop: int = 160


@dataclass(frozen=True)
class FoundPoint:
    """A point, and how it came about.

    Attributes:
        x: column in pixels; a pixel's middle is at one half.
        y: row.
        step: `convex` (the most convex region), `largest` (component of the foreground) or `centre` (of the box).
        stages: (h, w) maps `labels`, `foreground`, `regions` and `region`; empty for `centre`.
    """

    x: float
    y: float
    step: str
    stages: dict[str, NDArray[np.integer]] = field(default_factory=dict)


def find_point(image: Grey, box: tuple[float, float, float, float], choices: PointChoices) -> FoundPoint:
    """Find the foreground point of a box.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: left, top, right, bottom in pixels, half open.
        choices: of the steps.
    """
    height, width = image.shape[:2]
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    centre = FoundPoint(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2, "centre")
    if right - left < 3 or bottom - top < 3:
        return centre
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    scale = max(crop.shape[:2]) / choices.max_crop
    if scale > 1:
        size = (max(3, round(crop.shape[1] / scale)), max(3, round(crop.shape[0] / scale)))
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = two_means(crop, choices)
    if labels.min() == labels.max():
        return centre
    foreground = (labels == _object_label(labels, choices)).astype(np.uint8)
    depth, regions = _separate(crop, foreground, choices)
    region = _most_convex(regions, choices.min_area * regions.size)
    step = "convex"
    if region is None:
        step, region = "largest", _largest_component(foreground)
        depth = _depth(region)
    row, column = _place(region, depth, choices.place)
    x = left + (column + 0.5) * (right - left) / crop.shape[1]
    y = top + (row + 0.5) * (bottom - top) / crop.shape[0]
    stages = {"labels": labels, "foreground": foreground, "regions": regions, "region": region}
    return FoundPoint(x, y, step, stages)


def two_means(crop: Grey, choices: PointChoices) -> NDArray[np.int64]:
    """Cluster the crop's pixels into 0 and 1 by k-means++ (Arthur & Vassilvitskii, 2007): (h, w)."""
    colours = crop if choices.space == "rgb" else cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    pixels = colours.reshape(-1, 3).astype(np.float64)
    draw = np.random.default_rng(choices.seed)
    still = SHIFT * pixels.var(axis=0).mean()
    best, lowest = np.zeros(len(pixels), np.int64), math.inf
    for _ in range(choices.tries):
        first = pixels[draw.integers(len(pixels))]
        apart = ((pixels - first) ** 2).sum(1)
        total = apart.sum()
        second = pixels[draw.choice(len(pixels), p=apart / total)] if total > 0 else first
        centres = np.stack((first, second))
        for _ in range(ROUNDS):
            labels, _ = _assign(pixels, centres)
            moved = np.stack([pixels[labels == k].mean(0) if (labels == k).any() else centres[k] for k in range(2)])
            shift = ((moved - centres) ** 2).sum()
            centres = moved
            if shift <= still:
                break
        labels, inertia = _assign(pixels, centres)
        if inertia < lowest - CLOSER:
            best, lowest = labels, inertia
    return best.reshape(crop.shape[:2])


def _assign(pixels: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    apart = ((pixels[:, None] - centres[None]) ** 2).sum(-1)
    labels = apart.argmin(1)
    return labels, float(apart[np.arange(len(labels)), labels].sum())


def _object_label(labels: NDArray[np.int64], choices: PointChoices) -> int:
    """The cluster that is the object; ties go to 1."""
    height, width = labels.shape
    rim = np.ones(labels.shape, np.bool_)
    rim[1:-1, 1:-1] = False
    middle = np.zeros(labels.shape, np.bool_)
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    costs = []
    for label in (0, 1):
        here = labels == label
        costs.append(
            {
                "border": (here & rim).sum() / here.sum(),
                "ring": (here & rim).sum(),
                "centre": -(here & middle).sum(),
                "minority": here.sum(),
            }[choices.foreground]
        )
    return 0 if costs[0] < costs[1] else 1


def _separate(crop: Grey, foreground: Grey, choices: PointChoices) -> tuple[NDArray[np.float32], Labels]:
    """Separate touching parts by a watershed.

    Returns:
        the depth of the opened foreground's pixels, and the regions 1, 2, ... with 0 elsewhere, (h, w) each.
    """
    opened = foreground
    if choices.opening:
        opened = np.asarray(cv2.morphologyEx(foreground, cv2.MORPH_OPEN, SQUARE, iterations=choices.opening), np.uint8)
    if not opened.any():
        opened = foreground
    depth = _depth(opened)
    count, parts = cv2.connectedComponents(opened, connectivity=8)
    deepest = np.array([0.0, *(depth[parts == part].max() for part in range(1, count))])
    seeds = ((opened > 0) & (depth > choices.peak * deepest[parts])).astype(np.uint8)
    _, numbers = cv2.connectedComponents(seeds, connectivity=8)
    grown = cv2.dilate(opened, SQUARE, iterations=choices.grow)
    markers = np.ones(opened.shape, np.int32)
    markers[grown > 0] = 0
    markers[seeds > 0] = numbers[seeds > 0] + 1
    cv2.watershed(np.ascontiguousarray(crop[..., ::-1]), markers)
    regions = np.where((opened > 0) & (markers > 1), markers - 1, 0).astype(np.int32)
    return depth, regions


def _depth(mask: Grey) -> NDArray[np.float32]:
    """Distance of each pixel to what is outside the mask; the crop's edge is outside."""
    padded = np.pad(mask, 1)
    depth: NDArray[np.float32] = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return depth


def _most_convex(regions: Labels, least: float) -> Grey | None:
    """The region of the largest share of its convex hull, then of the largest area; None if all are too small."""
    best, key = None, (-1.0, -1)
    for number in range(1, int(regions.max()) + 1):
        region = (regions == number).astype(np.uint8)
        area = int(region.sum())
        if area == 0 or area < least:
            continue
        hull = np.zeros_like(region)
        cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(region)), 1)
        found = (area / int(hull.sum()), area)
        if found > key:
            best, key = region, found
    return best


def _largest_component(mask: Grey) -> Grey:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    largest: Grey = (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    return largest


def _place(region: Grey, depth: NDArray[np.float32], place: str) -> tuple[int, int]:
    """Row and column of the chosen pixel; the first of equal ones, row by row."""
    rows, columns = np.nonzero(region)
    if place == "deepest":
        chosen = int(depth[rows, columns].argmax())
    else:
        chosen = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return int(rows[chosen]), int(columns[chosen])
