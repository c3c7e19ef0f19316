"""Polygons anywhere on the globe: valid, in the right place, cut at the antimeridian, carried on to a pole.

Referees: a naive test of validity and an even-odd rule, both over all lines; shapely where it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rrsis_bench.engine.antimeridian import cut
from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.engine.geo import GeoImage, map_files

pytestmark = pytest.mark.slow

rasterio = pytest.importorskip("rasterio")

H, W = 20, 26
RNG = np.random.default_rng(3)
MASKS = {
    "noise": RNG.random((H, W)) > 0.5,
    "few": RNG.random((H, W)) > 0.8,
    "chess": np.add.outer(np.arange(H), np.arange(W)) % 2 == 1,
    "blobs": cv2.GaussianBlur(RNG.random((H, W)), (0, 0), 2) > 0.5,
    "all": np.ones((H, W), bool),
}
PLACES = {
    "utm": ("EPSG:32633", (500_000, 5_000_000), 0.5),
    "across, in metres": ("EPSG:32760", (815_000 + 85 * 60, 8_138_000), 60),
    "across, beyond 180": ("EPSG:4326", (180 - 13 * 0.01, 10), 0.01),
    "across, beyond -180": ("EPSG:4326", (-180 - 0.0734, 10), 0.01),
    "from 0 to 360": ("EPSG:4326", (200, 10), 0.01),
    "around the south pole": ("EPSG:3031", (-1234, 987), 100),
    "around the north pole, wide": ("EPSG:3413", (-1_300_000, 990_000), 100_000),
    "a corner on the pole": ("EPSG:3031", (-1300, 1000), 100),
    "a corner on the pole, fine": ("EPSG:3413", (-13, 10), 1),
    "Mercator, the whole globe from 150": ("EPSG:3832", (-20_037_508.342789244, 15_000_000), 40_075_016.685578488 / W),
    "Mercator, the whole globe": ("EPSG:3857", (-20_037_508.342789244, 15_000_000), 40_075_016.685578488 / W),
    "rows to the north": ("EPSG:32633", (500_000, 5_000_000), -0.5),
}


def polygons(geometry: dict[str, Any]) -> list[list[NDArray[np.float64]]]:
    parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return [[np.array(ring) for ring in part] for part in parts]


def signed_area(ring: NDArray[np.float64]) -> float:
    x, y = (ring - ring[0]).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def check_valid(parts: list[list[NDArray[np.float64]]]) -> None:
    """Rings close, turn as the standard wants, pass no point twice, and no two lines cross."""
    starts, stops = [], []
    for part in parts:
        for number, ring in enumerate(part):
            assert (ring[0] == ring[-1]).all()
            assert len(np.unique(ring, axis=0)) == len(ring) - 1 > 2
            assert (signed_area(ring) > 0) == (number == 0)
            assert np.abs(ring[:, 0]).max() <= 180
            assert np.abs(ring[:, 1]).max() <= 90
            starts.append(ring[:-1])
            stops.append(ring[1:])
    a, b = np.concatenate(starts), np.concatenate(stops)

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        value = (q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]
        return np.where(np.abs(value) < 1e-12 * np.maximum(1, np.abs(q - p).sum(-1) * np.abs(r - p).sum(-1)), 0, value)

    for k in range(len(a)):  # proper crossings only: rings may touch at points
        p, q, others = a[k][None], b[k][None], slice(k + 1, None)
        one = side(p, q, a[others]) * side(p, q, b[others]) < 0
        two = side(a[others], b[others], p) * side(a[others], b[others], q) < 0
        assert not (one & two).any()


def covered(found: list[dict[str, Any]], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points in the features by the even-odd rule over all rings of each."""
    inside = np.zeros(len(points), bool)
    for feature in found:
        odd = np.zeros(len(points), bool)
        for part in polygons(feature["geometry"]):
            for ring in part:
                for (x0, y0), (x1, y1) in pairwise(ring):
                    if y0 != y1:
                        across = (y0 > points[:, 1]) != (y1 > points[:, 1])
                        odd ^= across & (points[:, 0] < x0 + (points[:, 1] - y0) / (y1 - y0) * (x1 - x0))
        inside |= odd
    return inside


def features(mask: NDArray[np.bool_], place: str) -> tuple[list[dict[str, Any]], Any]:
    crs, origin, size = PLACES[place]
    transform = rasterio.transform.from_origin(*origin, abs(size), size)
    bits = BitMask(*mask.shape)
    bits.put(0, mask)
    content = map_files(bits, GeoImage(transform, rasterio.crs.CRS.from_string(crs)), {})[".geojson"]
    return json.loads(content)["features"], transform


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", MASKS)
def test_features_are_valid_and_hold_the_centres_of_their_pixels(mask, place):
    found, transform = features(MASKS[mask], place)
    count, _ = cv2.connectedComponents(MASKS[mask].astype(np.uint8), connectivity=8)
    assert len(found) == count - 1
    assert sum(feature["properties"]["pixels"] for feature in found) == MASKS[mask].sum()
    for feature in found:
        check_valid(polygons(feature["geometry"]))
    rows, columns = np.mgrid[:H, :W] + 0.47  # not the very centre, which may lie on the antimeridian
    x, y = transform * (columns.ravel(), rows.ravel() - 0.05)
    longitude, latitude = map(np.array, rasterio.warp.transform(PLACES[place][0], "EPSG:4326", x, y))
    points = np.stack([(longitude + 180) % 360 - 180, latitude], axis=1)
    assert (covered(found, points) == MASKS[mask].ravel()).all()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mask", MASKS)
def test_shapely_finds_them_valid(mask, place):
    shapely = pytest.importorskip("shapely")
    for feature in features(MASKS[mask], place)[0]:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shapely.is_valid(shape), shapely.is_valid_reason(shape)


def test_a_region_across_the_antimeridian_has_a_part_on_either_side():
    found, _ = features(MASKS["all"], "across, beyond 180")
    (feature,) = found
    west, east = sorted((part[0][:, 0].min(), part[0][:, 0].max()) for part in polygons(feature["geometry"]))
    assert west == pytest.approx((-180, -179.87))
    assert east == pytest.approx((179.87, 180))


def box(west: float, south: float, east: float, north: float, step: float = 10) -> NDArray[np.float64]:
    """A ring, counter-clockwise, with a point at least every so many degrees."""

    def side(start: tuple[float, float], stop: tuple[float, float]) -> Iterator[NDArray[np.float64]]:
        count = max(1, int(max(abs(stop[0] - start[0]), abs(stop[1] - start[1])) // step))
        yield from np.linspace(start, stop, count, endpoint=False)

    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return np.array([*(p for k in range(4) for p in side(corners[k], corners[k + 1])), corners[0]])


def area(parts: list[list[NDArray[np.float64]]]) -> float:
    return sum(signed_area(ring) for part in parts for ring in part)


@pytest.mark.parametrize("turn", [-720, -360, 0, 360])
def test_holes_stay_in_their_part_and_cut_ones_open_it(turn):
    outline, east, west = box(170, -10, 190, 10), box(172, -2, 175, 2)[::-1], box(183, -2, 186, 2)[::-1]
    across = box(178, 5, 182, 7)[::-1]
    shift = np.array([turn, 0])
    parts = cut([ring + shift for ring in (outline, east, west, across)])
    check_valid(parts)
    assert area(parts) == pytest.approx(20 * 20 - 12 - 12 - 8)
    assert sorted(len(part) for part in parts) == [2, 2]
    for part in parts:
        signs = {float(np.sign(ring[:, 0].mean())) for ring in part}
        assert len(signs) == 1, "a hole lies in the part of its own side"


@pytest.mark.parametrize("pole", [90, -90])
def test_a_ring_around_a_pole_is_carried_on_to_it(pole):
    longitudes = np.linspace(0, 360, 37)
    ring = np.stack([longitudes + 5, np.full(37, 0.75 * pole) + 5 * np.cos(np.radians(longitudes))], axis=1)
    ring[-1, 1] = ring[0, 1]
    parts = cut([ring if pole > 0 else ring[::-1]])
    check_valid(parts)
    ((outline,),) = parts
    assert {(-180.0, float(pole)), (180.0, float(pole))} <= set(map(tuple, outline))
    assert area(parts) == pytest.approx(360 * 22.5, rel=0.01)


def test_a_band_around_the_globe_holds_no_pole():
    longitudes = np.linspace(0, 360, 37) + 5
    south, north = (np.stack([longitudes, np.full(37, latitude)], axis=1) for latitude in (60.0, 70.0))
    parts = cut([south, north[::-1]])
    check_valid(parts)
    assert area(parts) == pytest.approx(3600)
    assert max(ring[:, 1].max() for part in parts for ring in part) == 70


def test_regions_that_meet_around_the_globe_are_one_polygon_there():
    mask = np.zeros((H, W), bool)
    mask[4:9, :6] = mask[6:12, -5:] = True  # apart in the image, side by side on the globe
    mask[9, 6] = mask[9:11, 7:-5] = True
    mask[8, 6] = True
    bits = BitMask(H, W)
    bits.put(0, mask)
    transform = rasterio.transform.from_origin(0, 80, 360 / W, 160 / H)
    place = GeoImage(transform, rasterio.crs.CRS.from_string("EPSG:4326"))
    (feature,) = json.loads(map_files(bits, place, {})[".geojson"])["features"]
    parts = polygons(feature["geometry"])
    assert len(parts) == 1
    check_valid(parts)
    assert area(parts) == pytest.approx(mask.sum() * 360 / W * 160 / H)


def test_points_off_the_globe_leave_a_feature_without_geometry():
    bits = BitMask(H, W)
    mask = np.zeros((H, W), bool)
    mask[2:4, 2:4] = mask[10:12, 12:15] = True
    bits.put(0, mask)
    system = rasterio.crs.CRS.from_string("+proj=ortho +lat_0=40 +lon_0=10")
    place = GeoImage(rasterio.transform.from_origin(-7e6, 7e6, 14e6 / W, 14e6 / H), system)
    found = json.loads(map_files(bits, place, {})[".geojson"])["features"]
    assert [feature["geometry"] is None for feature in found] == [True, False]
    assert [feature["properties"]["pixels"] for feature in found] == [4, 6]


def test_a_local_system_has_no_longitude():
    system = rasterio.crs.CRS.from_string('LOCAL_CS["unnamed",UNIT["metre",1]]')
    place = GeoImage(rasterio.transform.from_origin(5, 5, 1, 1), system)
    assert not place.has_polygons
    assert "no GeoJSON" in str(place.note)
    assert list(map_files(BitMask(H, W), place, {})) == ["_mask.tif"]
