"""The regions of a mask as polygons that do not touch themselves.

Pixels that meet only at a corner belong to one region. A polygon may not pass a point twice, so the region becomes two
polygons that touch at the corner. GDAL traces the polygons of 4-connected pixels; each has one outline and its holes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int32]
"""A closed ring (N, 2) of columns and rows of pixel corners, its first point repeated at its end."""


@dataclass(frozen=True)
class Region:
    """Pixels of a mask that hang together by sides or corners.

    Attributes:
        polygons: for each its outline, then its holes.
        pixels: number of pixels.
    """

    polygons: tuple[tuple[Ring, ...], ...]
    pixels: int


def regions(band: Any) -> list[Region]:
    """The regions of the non-zero pixels of a raster.

    Args:
        band: a band of integers as `rasterio.band` gives it, of a dataset without a place on the map; it is read row by
            row. Or an array (H, W).
    """
    from rasterio.features import shapes

    polygons, sizes = [], []
    for shape, _ in shapes(band, mask=band, connectivity=4):
        rings = [loop for ring in shape["coordinates"] for loop in simple_loops(np.asarray(ring, np.int32))]
        areas = np.array([abs(signed_area(ring)) for ring in rings])
        outline = int(areas.argmax())
        polygons.append((rings[outline], *rings[:outline], *rings[outline + 1 :]))
        sizes.append(round(2 * areas[outline] - areas.sum()))
    groups: dict[int, list[int]] = defaultdict(list)
    for number, first in enumerate(_touching(polygons)):
        groups[first].append(number)
    return [
        Region(tuple(polygons[number] for number in members), sum(sizes[number] for number in members))
        for members in groups.values()
    ]


def simple_loops(ring: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A closed ring (N, 2), cut wherever it passes a point a second time."""
    if len(np.unique(ring, axis=0)) == len(ring) - 1:
        yield ring
        return
    path: list[tuple[float, float]] = []
    place: dict[tuple[float, float], int] = {}
    for point in map(tuple, ring[:-1].tolist()):
        start = place.get(point)
        if start is None:
            place[point] = len(path)
            path.append(point)
            continue
        yield np.array([*path[start:], point], ring.dtype)
        for passed in path[start + 1 :]:
            del place[passed]
        del path[start + 1 :]
    yield np.array([*path, path[0]], ring.dtype)


def signed_area(ring: NDArray[Any]) -> float:
    """Signed area of a closed ring (N, 2), positive when counter-clockwise with y upwards."""
    points = np.asarray(ring, dtype=np.float64)
    points = points - points[0]  # keeps the precision of small polygons far from the origin
    x, y = points[:, 0], points[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _touching(polygons: Sequence[tuple[Ring, ...]]) -> list[int]:
    """For each polygon the number of the first of those it hangs together with by shared corners."""
    parent = list(range(len(polygons)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    if len(polygons) > 1:
        codes = [np.unique(np.concatenate(rings).astype(np.int64) @ np.array([1, 1 << 32])) for rings in polygons]
        owners = np.repeat(np.arange(len(polygons)), [len(code) for code in codes])
        points = np.concatenate(codes)
        order = np.argsort(points, kind="stable")
        points, owners = points[order], owners[order]
        for place in np.flatnonzero(points[1:] == points[:-1]):
            one, other = root(int(owners[place])), root(int(owners[place + 1]))
            parent[max(one, other)] = min(one, other)
    return [root(number) for number in range(len(polygons))]
