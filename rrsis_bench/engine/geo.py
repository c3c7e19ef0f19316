"""Georeferenced images: where an image lies, and the mask back on the map (extra `geo`: rasterio).

Shape legend: `H W` pixels.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels import ImageError, opened
from rrsis_bench.engine.antimeridian import cut
from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.engine.outlines import Region, Ring, regions, signed_area
from rrsis_bench.errors import UsageError

BLOCK = 256  # side of the mask's tiles in pixels
_LONGEST = 64  # pixels between points of a line, so that no bend of a map is overlooked
_SHORTEST = 1 / 32  # pixels: a shorter line is not halved
_OFF = 0.05  # pixels: how far the middle of a line may lie off in longitude and latitude
_AT_POLE = 1e-9  # degrees
_TOGETHER, _FAR = 1e-8, 90.0  # degrees: ends of an image that meet around the globe, and its middle away from them
_WIDEST = 45.0  # degrees of longitude that half a line may span
_AT_ONCE = 1000  # regions brought to longitude and latitude by one call


@dataclass(frozen=True)
class GeoImage:
    """Where an image lies on the map.

    Attributes:
        transform: rasterio's affine transform, pixels to the coordinates of `crs`; the identity where there is none.
        crs: rasterio's coordinate reference system, or None.
        gcps: ground control points, which place an image that has no affine transform.
        rpcs: rational polynomial coefficients, or None. They place nothing without a model of the terrain.
    """

    transform: Any
    crs: Any
    gcps: tuple[Any, ...] = ()
    rpcs: Any = None

    @property
    def has_polygons(self) -> bool:
        """Whether pixels can be brought to longitude and latitude."""
        on_earth = self.crs is not None and (self.crs.is_geographic or self.crs.is_projected)
        return on_earth and (bool(self.gcps) or not self.transform.is_identity)

    @property
    def note(self) -> str | None:
        """What a user should know of the map, or None."""
        if self.has_polygons:
            points = f"placed by a polynomial through its {len(self.gcps)} ground control points"
            return f"the image is {points}" if self.gcps else None
        if self.crs is None:
            return "the file names no coordinate reference system, so no GeoJSON can be made"
        return "the file does not place its pixels on earth by a transform or control points, so no GeoJSON can be made"

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows (N, 2) of pixel corners in the coordinates of `crs`."""
        if self.gcps:
            from rasterio.transform import GCPTransformer

            with GCPTransformer(self.gcps) as placed:
                return np.stack(placed.xy(points[:, 1], points[:, 0], offset="ul"), axis=1)
        a, b, c, d, e, f = self.transform[:6]
        x, y = points[:, 0], points[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def to_world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows (N, 2) of pixel corners as longitude and latitude in WGS 84; infinite off the globe.

        The outer pixels of a grid whose centres lie on the poles reach beyond them: such a corner is put on the pole.
        """
        placed = self.to_map(points)
        if self.crs.is_geographic:
            placed[:, 1] = placed[:, 1].clip(-90, 90)
        found = _degrees(self.crs, placed)
        if self.crs.is_geographic:
            # Longitudes beyond 180 go on as the image has them.
            found[:, 0] += 360 * np.round((placed[:, 0] - found[:, 0]) / 360)
            return found
        # A corner on a pole has no longitude: it is moved by a thousandth of a pixel.
        poles = np.abs(found[:, 1]) > 90 - _AT_POLE
        if poles.any():
            found[poles] = _degrees(self.crs, self.to_map(points[poles] + 1e-3))
        return found

    @property
    def mirrored(self) -> bool:
        """Whether what turns clockwise in the image, its rows counted downwards, turns clockwise on the map."""
        corner, right, below = self.to_map(np.array([[0, 0], [1, 0], [0, 1]], np.float64))
        (a, d), (b, e) = right - corner, below - corner
        return bool(a * e - b * d < 0)


def _degrees(system: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates (N, 2) of a reference system as longitude and latitude; infinite off the globe."""
    from rasterio.warp import transform

    try:
        return np.stack(transform(system, "EPSG:4326", *points.T.tolist()), axis=1)
    except Exception:  # One point off the globe fails all, by an exception that rasterio keeps to itself.
        if len(points) == 1:
            return np.full((1, 2), np.inf)
        half = len(points) // 2
        return np.concatenate([_degrees(system, points[:half]), _degrees(system, points[half:])])


def locate(path: Path) -> GeoImage | None:
    """Where an image lies: by tags of the file or a file beside it (world file); None for an image without a place.

    Raises:
        UsageError: a TIFF says where it lies, and the extra is not installed.
    """
    if find_spec("rasterio") is None:
        if _has_place_tags(path):
            raise UsageError(
                f"{path} is georeferenced, which needs rasterio: pip install 'rrsis-bench[geo]', "
                "or give --plain to treat it as an ordinary image."
            )
        return None
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as dataset:
                points, system = dataset.gcps
                place = GeoImage(dataset.transform, dataset.crs or system, tuple(points), dataset.rpcs)
        except (rasterio.errors.RasterioError, OSError):
            return None  # not a format of rasterio's; whoever reads the pixels says what is wrong
    placed = place.crs is not None or place.gcps or place.rpcs is not None or not place.transform.is_identity
    return place if placed else None


def _has_place_tags(path: Path) -> bool:
    try:
        with opened(path) as (_, header):
            return header.placed
    except ImageError:
        return False


def map_files(mask: BitMask, place: GeoImage, properties: Mapping[str, Any]) -> dict[str, bytes]:
    """A mask where its image lies: suffix -> content of a GeoTIFF of 0 and 255, and of GeoJSON where that can be made.

    Args:
        mask: (H, W).
        place: of the image.
        properties: of the GeoJSON's features.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

    files: dict[str, bytes] = {}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff", height=mask.height, width=mask.width, count=1, dtype="uint8", compress="deflate",
            tiled=True, blockxsize=BLOCK, blockysize=BLOCK, bigtiff="IF_SAFER",
        ) as dataset:  # fmt: skip
            for top, rows in mask.strips():
                dataset.write(rows * np.uint8(255), 1, window=Window(0, top, mask.width, len(rows)))
        if place.has_polygons:
            # Before the file has a place: regions are traced in pixels, where corners that touch are equal.
            with memory.open() as dataset:
                files[".geojson"] = geojson(regions(rasterio.band(dataset, 1)), place, properties)
        with rasterio.open(memory.name, "r+") as dataset:
            if place.gcps:
                dataset.gcps = (list(place.gcps), place.crs)
            elif not place.transform.is_identity:
                dataset.transform = place.transform
            if place.crs is not None and not place.gcps:
                dataset.crs = place.crs
            if place.rpcs is not None:
                dataset.rpcs = place.rpcs
        files["_mask.tif"] = bytes(memory.getbuffer())
    return files


def geojson(found: Sequence[Region], place: GeoImage, properties: Mapping[str, Any]) -> bytes:
    """Regions as a GeoJSON feature collection in WGS 84, one feature a line.

    By RFC 7946: longitude before latitude, outlines counter-clockwise, holes clockwise, what crosses the antimeridian
    cut there.

    Args:
        found: regions of a mask.
        place: of the image; must have polygons.
        properties: copied into each feature, with the number of its pixels.
    """
    lines = []
    seam = _seam(found, place)
    for start in range(0, len(found), _AT_ONCE):
        some = found[start : start + _AT_ONCE]
        for region, geometry in zip(some, _in_the_world(some, place, seam), strict=True):
            feature = {
                "type": "Feature",
                "geometry": geometry,
                "properties": {**properties, "pixels": region.pixels},
            }
            lines.append(json.dumps(feature, ensure_ascii=False, allow_nan=False).encode())
    return b'{"type": "FeatureCollection", "features": [\n' + b",\n".join(lines) + b"\n]}\n"


def _seam(found: Sequence[Region], place: GeoImage) -> float | None:
    """The longitude at which the left and the right end of an image around the globe meet; None for another image."""
    ends = np.array([(ring.min(axis=0), ring.max(axis=0)) for region in found for ring, *_ in region.polygons])
    if not len(ends):
        return None
    left, right = ends[:, 0, 0].min(), ends[:, 1, 0].max()
    row = (ends[:, 0, 1].min() + ends[:, 1, 1].max()) / 2
    places = place.to_world(np.array([[left, row], [(left + right) / 2, row], [right, row]], np.float64))
    if not np.isfinite(places).all():
        return None
    middle, whole = (np.abs(places[1:] - places[0]) % 360)[:, 0]
    away, apart = min(middle, 360 - middle), min(whole, 360 - whole)
    if apart > _TOGETHER or away < _FAR or np.ptp(places[:, 1]) > _TOGETHER:
        return None
    return float((np.round(places[0, 0], 9) + 180) % 360 - 180)


def _in_the_world(found: Sequence[Region], place: GeoImage, seam: float | None) -> list[dict[str, Any] | None]:
    """GeoJSON geometries in WGS 84 of regions; None for one that is not on the globe."""
    shapes = [[_turned_on_map(polygon, place.mirrored) for polygon in region.polygons] for region in found]
    placed = iter(_spherical([ring for shape in shapes for polygon in shape for ring in polygon], place))
    geometries: list[dict[str, Any] | None] = []
    for shape in shapes:
        parts: list[list[NDArray[np.float64]]] = []
        groups = [[next(placed) for _ in polygon] for polygon in shape]
        if seam is not None:
            groups = [[ring for rings in groups for ring in rings]]
        for rings in groups:
            if all(np.isfinite(ring).all() for ring in rings):
                wide = [ring for ring in rings if np.ptp(ring[:, 1])]  # a ring beyond a pole has become a line
                parts += cut(wide, seam) if wide else []
        polygons = [[_turned(ring, number == 0).tolist() for number, ring in enumerate(part)] for part in parts]
        if len(polygons) == 1:
            geometries.append({"type": "Polygon", "coordinates": polygons[0]})
        else:
            geometries.append({"type": "MultiPolygon", "coordinates": polygons} if polygons else None)
    return geometries


def _turned_on_map(polygon: Sequence[Ring], mirrored: bool) -> list[Ring]:
    """Rings of pixels, the outline counter-clockwise on the map and the holes clockwise."""
    return [_turned(ring, (number == 0) != mirrored) for number, ring in enumerate(polygon)]


def _turned(ring: NDArray[Any], counter_clockwise: bool) -> NDArray[Any]:
    return ring if (signed_area(ring) > 0) == counter_clockwise else ring[::-1]


def _spherical(rings: Sequence[Ring], place: GeoImage) -> list[NDArray[np.float64]]:
    """Rings of pixels as longitudes, without jumps, and latitudes.

    A line of pixels is halved until it is straight in longitude and latitude, too.
    """
    finer = [_finer(ring, _LONGEST) for ring in rings]
    points = np.concatenate(finer)
    owners = np.repeat(np.arange(len(finer)), [len(ring) for ring in finer])
    found = place.to_world(points)
    # Where a line that is not straight enough may begin.
    doubtful = np.flatnonzero(owners[1:] == owners[:-1]) if not place.crs.is_geographic else np.empty(0, np.intp)
    while doubtful.size:
        middle = (points[doubtful] + points[doubtful + 1]) / 2
        length = np.abs(points[doubtful + 1] - points[doubtful]).max(axis=1)
        there = place.to_world(middle)
        bent = (length > _SHORTEST) & _bent(found[doubtful], there, found[doubtful + 1], length)
        at = doubtful[bent] + 1
        points = np.insert(points, at, middle[bent], axis=0)
        found = np.insert(found, at, there[bent], axis=0)
        owners = np.insert(owners, at, owners[at])
        inserted = at + np.arange(at.size)
        doubtful = np.stack([inserted - 1, inserted], axis=1).ravel()
    done = np.split(found, np.flatnonzero(np.diff(owners)) + 1)
    if not place.crs.is_geographic:
        for ring in done:
            if np.isfinite(ring).all():
                ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    return done


def _bent(
    start: NDArray[np.float64], middle: NDArray[np.float64], stop: NDArray[np.float64], length: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether straight lines of the image are curved in longitude and latitude.

    Args:
        start: longitude and latitude (N, 2) of where they begin.
        middle: of their middles in the image.
        stop: of where they end.
        length: (N,) in pixels.

    Returns:
        (N,) True where a half spans much longitude, or the middle is off by more than a share of a pixel.
    """
    with np.errstate(invalid="ignore"):
        first, second = middle - start, stop - middle
        for half in (first, second):
            half[:, 0] -= 360 * np.round(half[:, 0] / 360)
        wide = np.maximum(np.abs(first[:, 0]), np.abs(second[:, 0])) > _WIDEST
        scale = np.stack([np.cos(np.radians(middle[:, 1])), np.ones(len(middle))], axis=1)
        off = np.hypot(*((second - first) / 2 * scale).T)
        pixel = (np.hypot(*(first * scale).T) + np.hypot(*(second * scale).T)) / length
        bent: NDArray[np.bool_] = wide | (off > _OFF * pixel)
    return bent


def _finer(ring: Ring, longest: int) -> NDArray[np.float64]:
    """A closed ring (N, 2) with points added, none of its lines longer than so many pixels."""
    steps = np.diff(ring, axis=0)
    counts = np.maximum(1, -(-np.abs(steps).max(axis=1) // longest))
    first = np.repeat(np.cumsum(counts) - counts, counts)
    share = (np.arange(counts.sum()) - first) / np.repeat(counts, counts)
    inner = np.repeat(ring[:-1], counts, axis=0) + np.repeat(steps, counts, axis=0) * share[:, None]
    return np.concatenate([inner, ring[-1:]])
