"""Cuts polygons at the antimeridian, as RFC 7946 asks, and extends a polygon around a pole to the pole.

`cut` splits each ring into chains where the ring crosses the antimeridian. From south to north, a polygon begins at one
crossing and ends at the next. These two crossings are mates; around a pole, the last crossing has the pole as its mate.
`cut` then joins the chains of mates along the antimeridian to rings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.engine.outlines import signed_area, simple_loops

Path = NDArray[np.float64]
"""Longitudes and latitudes (N, 2) in degrees; a ring repeats its first point at its end."""

Point = tuple[float, float]

_NEAR = 1e-10  # degrees, a hundredth of a millimetre: a point on the antimeridian itself is moved so far west of it
_DECIMALS = 9
_AT_SEAM = 1e-8  # degrees


class _Tangled(Exception):
    """Rounding has torn a polygon: its crossings do not alternate."""


@dataclass(frozen=True)
class _Crossing:
    """A point where a ring crosses the antimeridian.

    Attributes:
        latitude: in degrees.
        eastward: whether it leaves the east side, to enter on the west side.
    """

    latitude: float
    eastward: bool

    @property
    def left(self) -> float:
        """Longitude of the side the ring leaves by."""
        return 180.0 if self.eastward else -180.0


def cut(rings: Sequence[Path], seam: float | None = None) -> list[list[Path]]:
    """Cut a polygon into polygons between -180 and 180 degrees.

    Args:
        rings: the outline, counter-clockwise on the map, then the holes, clockwise. Longitudes have no jump: they
            continue beyond 180, and the last point of a ring around a pole is 360 degrees from its first.
        seam: None, or the longitude at which the left and the right end of an image around the globe meet. `rings` may
            then be those of several polygons, which are joined at this longitude.

    Returns:
        polygons, each an outline and its holes, turned as given. The list is empty if the polygon has no area, or if
        rounding has torn it.
    """
    chains: list[Path] = []
    crossings: list[_Crossing] = []
    ends: list[int] = []  # the crossing at which each chain ends; it begins at the one of its own number
    whole: list[Path] = []
    turns = 0
    for ring in rings:
        points = _beside(ring)
        band = np.floor((points[:, 0] + 180) / 360)
        local = points - np.stack([360 * band, np.zeros_like(band)], axis=1)
        edges = np.flatnonzero(np.diff(band))
        turns += int(band[-1] - band[0])
        if not edges.size:
            whole.append(local)
            continue
        first = len(crossings)
        crossings += [_crossing(points[edge], points[edge + 1], band[edge], band[edge + 1]) for edge in edges]
        inner = np.split(local[:-1], edges + 1)
        inner[0] = np.concatenate([inner.pop(), inner[0]])
        for number, between in enumerate([*inner[1:], inner[0]]):
            begin, end = first + number, first + (number + 1) % edges.size
            start, stop = crossings[begin], crossings[end]
            ends.append(end)
            chains.append(np.concatenate([[(-start.left, start.latitude)], between, [(stop.left, stop.latitude)]]))
    if not chains and seam is None:
        return [[_rounded(ring) for ring in whole]]
    try:
        joined = _joined(chains, ends, crossings, turns)
    except _Tangled:
        return []
    loops = _apart([_rounded(ring, seam) for ring in (*joined, *whole)], seam)
    return _with_holes([one for one in loops if signed_area(one) > 0], [one for one in loops if signed_area(one) < 0])


def _beside(ring: Path) -> Path:
    """A ring without points on the antimeridian itself."""
    near = np.round((ring[:, 0] - 180) / 360) * 360 + 180
    longitudes: Path = np.where(np.abs(ring[:, 0] - near) < _NEAR, near - _NEAR, ring[:, 0])
    return np.stack([longitudes, ring[:, 1]], axis=1)


def _crossing(start: Path, stop: Path, before: float, after: float) -> _Crossing:
    line = 360 * max(before, after) - 180
    share = (line - start[0]) / (stop[0] - start[0])
    return _Crossing(float(start[1] + share * (stop[1] - start[1])), bool(after > before))


def _joined(chains: Sequence[Path], ends: Sequence[int], crossings: Sequence[_Crossing], turns: int) -> list[Path]:
    """Chains joined along the antimeridian to closed rings."""
    order: list[int | None] = [*sorted(range(len(crossings)), key=lambda number: crossings[number].latitude)]
    if turns:  # eastwards with the polygon on the left: around the north pole
        order.insert(len(order) if turns > 0 else 0, None)
    if len(order) % 2:
        raise _Tangled
    mate: dict[int, int | None] = {}
    for one, other in zip(order[::2], order[1::2], strict=True):
        mate |= {here: there for here, there in ((one, other), (other, one)) if here is not None}
    rings: list[Path] = []
    left = dict.fromkeys(range(len(chains)))
    while left:
        number = next(iter(left))
        parts: list[Path] = []
        while number in left:
            del left[number]
            parts.append(chains[number])
            end = ends[number]
            other = mate[end]
            if other is None:
                pole = 90.0 if turns > 0 else -90.0
                parts.append(np.array([(crossings[end].left, pole), (-crossings[end].left, pole)]))
                number = end
            elif crossings[other].eastward == crossings[end].eastward:
                raise _Tangled
            else:
                number = other
        rings.append(np.concatenate([*parts, parts[0][:1]]))
    return rings


def _rounded(ring: Path, seam: float | None = None) -> Path:
    """A closed ring without the same point twice in a row; points that were moved off the antimeridian return to it."""
    points = np.clip(np.round(ring, _DECIMALS), (-180, -90), (180, 90))
    if seam is not None:
        points[np.abs(points[:, 0] - seam) < _AT_SEAM, 0] = seam
    kept: Path = points[np.append(True, (np.diff(points, axis=0) != 0).any(axis=1))]
    return kept


def _apart(rings: Sequence[Path], seam: float | None) -> list[Path]:
    """Rings that touch themselves nowhere, and run along no line twice.

    Where a corner lay on the antimeridian, rings run to and fro on it; where an image goes around the globe, its two
    ends meet. Lines that are run both ways are taken out, and the others followed to rings again.
    """
    points = np.concatenate(rings)
    stops = {x: np.unique(points[points[:, 0] == x, 1]) for x in (-180.0, 180.0, *([] if seam is None else [seam]))}
    onward: dict[Point, dict[Point, None]] = defaultdict(dict)
    for ring in rings:
        for start, stop in pairwise(_with_stops(ring, stops)):
            if start in onward[stop]:
                del onward[stop][start]
            else:
                onward[start][stop] = None
    loops: list[Path] = []
    for first in list(onward):
        while onward[first]:
            path = [first]
            while len(path) == 1 or path[-1] != first:
                ways = onward[path[-1]]
                # The sharpest turn to the left stays with the same part of the polygon, whose parts may meet here.
                step = max(ways, key=partial(_turn, *path[-2:])) if len(ways) > 1 < len(path) else next(iter(ways))
                del ways[step]
                path.append(step)
            loops += [loop for loop in simple_loops(np.array(path)) if signed_area(loop)]
    return loops


def _turn(before: Point, here: Point, after: Point) -> float:
    """How far a way turns to the left, in radians."""
    (x, y), (u, v) = (here[0] - before[0], here[1] - before[1]), (after[0] - here[0], after[1] - here[1])
    return math.atan2(x * v - y * u, x * u + y * v)


def _with_stops(ring: Path, stops: Mapping[float, Path]) -> list[Point]:
    """The points of a ring and, where it runs along a meridian of `stops`, the latitudes given there on its way."""
    path: list[Point] = []
    for (x0, y0), (x1, y1) in pairwise(ring.tolist()):
        path.append((x0, y0))
        if x0 == x1 and x0 in stops:
            passed = stops[x0]
            between = passed[(passed > min(y0, y1)) & (passed < max(y0, y1))].tolist()
            path += [(x0, y) for y in (between if y1 > y0 else between[::-1])]
    return path + path[:1]


def _with_holes(outlines: Sequence[Path], holes: Sequence[Path]) -> list[list[Path]]:
    """Each hole with the outline around it."""
    polygons = [[outline] for outline in outlines]
    for hole in holes:
        # Rings touch at corners only: the middle of a line is on no other ring.
        middle = (hole[0] + hole[1]) / 2
        around = polygons[:1] if len(polygons) == 1 else [one for one in polygons if _inside(middle, one[0])]
        for polygon in around:
            polygon.append(hole)
    return polygons


def _inside(point: Path, ring: Path) -> bool:
    """Whether a point lies in a ring, by the crossings of a line east of it."""
    (x, y), (x0, y0), (x1, y1) = point, ring[:-1].T, ring[1:].T
    across = (y0 > y) != (y1 > y)
    return bool(np.count_nonzero(x0[across] + (y - y0[across]) / (y1 - y0)[across] * (x1 - x0)[across] > x) % 2)
