"""Shapes of the synthetic scenes' object categories, and how they are painted.

A shape is drawn in its own frame: x runs along its length from -1 to 1, y across it. `place` turns it into pixels.
Tones name colours relative to the object's own (`body`, `dark`, `light`, `line`) or fixed ones (`soil`, `grass`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""(N, 2) polygon corners x, y."""
Colour = tuple[int, int, int]
"""RGB, 0-255."""

SUBPIXEL_BITS = 4

COLOURS: dict[str, Colour] = {
    "white": (236, 236, 230),
    "red": (204, 44, 38),
    "blue": (46, 92, 222),
    "yellow": (238, 204, 40),
}
FIXED_TONES: dict[str, Colour] = {"soil": (158, 118, 78), "grass": (74, 128, 58)}


@dataclass(frozen=True)
class Shape:
    """How a category looks from above.

    Attributes:
        outline: polygons whose union is the object's mask, filled with its body colour.
        details: (polygon, tone) painted inside, in order.
        length: smallest and largest length (x from -1 to 1) as a share of the image side.
        habitat: `land` or `water`: what lies under it.
        height: length of its shadow as a share of its length.
    """

    outline: tuple[Points, ...]
    details: tuple[tuple[Points, str], ...]
    length: tuple[float, float]
    habitat: str = "land"
    height: float = 0.1


def _polygon(*corners: tuple[float, float]) -> Points:
    return np.array(corners, np.float32)


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    return _polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _ellipse(x: float, y: float, rx: float, ry: float, corners: int = 28) -> Points:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1).astype(np.float32)


def _arc(x: float, y: float, radius: float, degrees: tuple[float, float], corners: int = 14) -> Points:
    angle = np.radians(np.linspace(*degrees, corners))
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1).astype(np.float32)


def _band(x: float, y: float, inner: float, outer: float, degrees: tuple[float, float]) -> Points:
    return np.concatenate([_arc(x, y, outer, degrees), _arc(x, y, inner, degrees)[::-1]])


def _mirrored(points: Points) -> tuple[Points, Points]:
    """A polygon and its mirror image across the x axis."""
    return points, points * np.array([1, -1], np.float32)


def _turned(points: Points, degrees: float) -> Points:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned: Points = (points @ np.array([[cos, sin], [-sin, cos]], np.float32)).astype(np.float32)
    return turned


def _airplane() -> Shape:
    fuselage = _polygon((1, 0), (0.82, 0.13), (-0.7, 0.12), (-1, 0.04), (-1, -0.04), (-0.7, -0.12), (0.82, -0.13))
    wings = _mirrored(_polygon((0.36, 0.1), (-0.2, 0.98), (-0.46, 0.98), (-0.14, 0.1)))
    tail = _mirrored(_polygon((-0.62, 0.08), (-0.88, 0.42), (-1, 0.42), (-0.92, 0.04)))
    engines = _mirrored(_rectangle(-0.02, 0.42, 0.2, 0.54))
    cockpit = _polygon((0.9, 0.06), (0.74, 0.1), (0.74, -0.1), (0.9, -0.06))
    details = ((cockpit, "dark"), *((engine, "dark") for engine in engines))
    return Shape((fuselage, *wings, *tail), details, (0.19, 0.42), height=0.12)


def _ship() -> Shape:
    hull = _polygon((1, 0), (0.55, 0.27), (-0.88, 0.27), (-1, 0.18), (-1, -0.18), (-0.88, -0.27), (0.55, -0.27))
    details = (
        (_rectangle(-0.9, -0.19, -0.5, 0.19), "light"),
        (_rectangle(-0.78, -0.1, -0.62, 0.1), "dark"),
        (_rectangle(-0.36, -0.14, -0.06, 0.14), "dark"),
        (_rectangle(0.08, -0.14, 0.38, 0.14), "dark"),
    )
    return Shape((hull,), details, (0.24, 0.48), habitat="water", height=0.06)


def _storage_tank() -> Shape:
    details = (
        (_ellipse(0, 0, 0.86, 0.86), "dark"),
        (_ellipse(0, 0, 0.76, 0.76), "body"),
        (_ellipse(0.22, 0.22, 0.34, 0.34, 14), "light"),
        (_ellipse(0, 0, 0.12, 0.12, 8), "dark"),
    )
    return Shape((_ellipse(0, 0, 1, 1),), details, (0.12, 0.29), height=0.24)


def _vehicle() -> Shape:
    body = _polygon(
        (0.84, -0.5), (1, -0.34), (1, 0.34), (0.84, 0.5), (-0.88, 0.5), (-1, 0.38), (-1, -0.38), (-0.88, -0.5)
    )
    details = (
        (_polygon((0.56, -0.4), (0.56, 0.4), (0.26, 0.32), (0.26, -0.32)), "glass"),
        (_polygon((-0.76, -0.38), (-0.76, 0.38), (-0.56, 0.32), (-0.56, -0.32)), "glass"),
    )
    return Shape((body,), details, (0.14, 0.3), height=0.14)


def _tennis_court() -> Shape:
    lines = [
        _rectangle(-0.8, -0.36, 0.8, -0.3),
        _rectangle(-0.8, 0.3, 0.8, 0.36),
        _rectangle(-0.82, -0.36, -0.76, 0.36),
        _rectangle(0.76, -0.36, 0.82, 0.36),
        _rectangle(-0.03, -0.46, 0.03, 0.46),
        _rectangle(-0.44, -0.02, 0.44, 0.02),
    ]
    return Shape((_rectangle(-1, -0.54, 1, 0.54),), tuple((line, "line") for line in lines), (0.2, 0.42), height=0.0)


def _baseball_field() -> Shape:
    apex = _polygon((-0.85, 0))
    fan = np.concatenate([apex, _arc(-0.85, 0, 1.85, (-45, 45))])
    infield = np.concatenate([apex, _arc(-0.85, 0, 0.95, (-45, 45))])
    diamond = _polygon((-0.72, 0), (-0.38, 0.34), (-0.04, 0), (-0.38, -0.34))
    return Shape((fan,), ((infield, "soil"), (diamond, "grass")), (0.19, 0.38), height=0.0)


def _stadium() -> Shape:
    details = (
        (_ellipse(0, 0, 0.82, 0.6), "dark"),
        (_ellipse(0, 0, 0.74, 0.53), "body"),
        (_ellipse(0, 0, 0.52, 0.34), "grass"),
        (_rectangle(-0.02, -0.33, 0.02, 0.33), "light"),
    )
    return Shape((_ellipse(0, 0, 1, 0.78),), details, (0.23, 0.44), height=0.1)


def _windmill() -> Shape:
    blade = _polygon((0, -0.14), (0.35, -0.17), (1, -0.06), (1, 0.06), (0, 0.12))
    blades = tuple(_turned(blade, degrees) for degrees in (0.0, 120.0, 240.0))
    hub = _ellipse(0, 0, 0.22, 0.22, 12)
    return Shape((*blades, hub), ((_ellipse(0, 0, 0.12, 0.12, 10), "dark"),), (0.24, 0.46), height=0.3)


def _bridge() -> Shape:
    towers = [_rectangle(x - 0.06, -0.27, x + 0.06, 0.27) for x in (-0.55, 0.55)]
    edges = [_rectangle(-1, -0.18, 1, -0.13), _rectangle(-1, 0.13, 1, 0.18)]
    dashes = [_rectangle(x, -0.02, x + 0.14, 0.02) for x in np.arange(-0.95, 0.9, 0.28)]
    details = [*((edge, "dark") for edge in edges), *((dash, "line") for dash in dashes)]
    return Shape((_rectangle(-1, -0.18, 1, 0.18), *towers), tuple(details), (0.34, 0.62), "water", 0.08)


def _dam() -> Shape:
    wall = _band(-1.1, 0, 0.92, 1.4, (-52, 52))
    crest = _band(-1.1, 0, 1.22, 1.3, (-50, 50))
    gates = [_band(-1.1, 0, 0.98, 1.14, (a, a + 7)) for a in (-38, -20, -3.5, 13, 31)]
    return Shape((wall,), ((crest, "light"), *((gate, "dark") for gate in gates)), (0.26, 0.46), "water", 0.1)


SHAPES: dict[str, Shape] = {
    "airplane": _airplane(),
    "ship": _ship(),
    "storage tank": _storage_tank(),
    "vehicle": _vehicle(),
    "tennis court": _tennis_court(),
    "baseball field": _baseball_field(),
    "stadium": _stadium(),
    "windmill": _windmill(),
    "bridge": _bridge(),
    "dam": _dam(),
}
"""RRSIS-D category names and how each is drawn."""


def tone(name: str, colour: Colour) -> Colour:
    """The RGB of a named tone for an object of a body colour."""
    if name in FIXED_TONES:
        return FIXED_TONES[name]
    red, green, blue = colour
    if name == "glass":
        return (42, 48, 58)
    if name == "line":
        return (110, 110, 112) if min(colour) > 190 else (240, 240, 236)
    if name == "dark":
        return (red * 6 // 10, green * 6 // 10, blue * 6 // 10)
    if name == "light":
        return ((red + 510) // 3, (green + 510) // 3, (blue + 510) // 3)
    return colour


def place(points: Points, centre: tuple[float, float], scale: tuple[float, float], angle: float) -> Points:
    """Corners in pixels of a polygon given in its shape's frame.

    Args:
        points: (N, 2) in the shape's frame.
        centre: x, y of the shape's origin in pixels.
        scale: pixels per unit along and across the shape.
        angle: clockwise turn in radians (y points down).
    """
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos * scale[0], sin * scale[0]], [-sin * scale[1], cos * scale[1]]], np.float32)
    placed: Points = points @ matrix + np.array(centre, np.float32)
    return placed


def _fixed_point(points: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def fill_mask(mask: NDArray[np.uint8], polygons: Sequence[Points]) -> None:
    """Set the pixels of each polygon to 1 in an (H, W) mask, in place. Overlapping polygons form a union."""
    for polygon in polygons:
        cv2.fillPoly(mask, [_fixed_point(polygon)], 1, cv2.LINE_8, SUBPIXEL_BITS)


def fill(image: NDArray[np.uint8], polygons: NDArray[np.float32], colour: Colour) -> None:
    """Paint antialiased polygons into an (H, W, 3) image, in place.

    Args:
        image: painted on.
        polygons: one polygon (N, 2), or disjoint ones (M, N, 2).
        colour: RGB.
    """
    points = _fixed_point(polygons)
    cv2.fillPoly(image, list(points) if points.ndim == 3 else [points], colour, cv2.LINE_AA, SUBPIXEL_BITS)
