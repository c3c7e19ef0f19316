"""Masks on the map: where they lie, and polygons that every reader of GeoJSON takes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from rrsis_bench.engine import geo
from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.errors import UsageError


def bits(mask: NDArray[np.uint8]) -> BitMask:
    made = BitMask(*mask.shape)
    made.put(0, mask.astype(bool))
    return made


def write_scene(
    path: Path, crs: str | None = "EPSG:32615", origin: tuple[float, float] = (270_000, 3_300_000), size: float = 0.5
) -> None:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=60, count=3, dtype="uint8", crs=crs,
        transform=rasterio.transform.from_origin(*origin, size, size),
    ) as opened:  # fmt: skip
        opened.write(np.random.default_rng(0).integers(0, 200, (3, 40, 60)).astype("uint8"))


def located(path: Path, **scene: Any) -> geo.GeoImage:
    write_scene(path, **scene)
    place = geo.locate(path)
    assert place is not None
    return place


def features(mask: NDArray[np.uint8], place: geo.GeoImage) -> list[dict[str, Any]]:
    found = json.loads(geo.map_files(bits(mask), place, {"text": "the ship"})[".geojson"])
    assert found["type"] == "FeatureCollection"
    return list(found["features"])


def rings(feature: dict[str, Any]) -> list[list[list[list[float]]]]:
    """Polygons of a feature, each a list of rings."""
    geometry = feature["geometry"]
    return [geometry["coordinates"]] if geometry["type"] == "Polygon" else list(geometry["coordinates"])


def signed_area(ring: list[list[float]]) -> float:
    """By the shoelace formula: positive for counter-clockwise."""
    x, y = np.array(ring, dtype=float).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def check_valid(feature: dict[str, Any]) -> None:
    """RFC 7946: closed rings without repeated points, outlines counter-clockwise, holes clockwise, degrees in range."""
    for polygon in rings(feature):
        for number, ring in enumerate(polygon):
            points = [tuple(point) for point in ring]
            assert points[0] == points[-1]
            assert len(points) >= 4
            assert len(set(points[:-1])) == len(points) - 1, "a ring touches itself"
            assert (signed_area(ring) > 0) == (number == 0)
            assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in points)


def test_images_without_a_place_have_none(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\x00")
    assert not any(geo.locate(tmp_path / name) for name in ("a.tif", "a.png", "broken.tif", "none.tif"))


def test_without_the_extra_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (0.5, 0.5, 0.0)
    tags.tagtype[33550] = 12
    Image.new("RGB", (8, 8)).save(tmp_path / "geo.tif", tiffinfo=tags)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.tif")
    monkeypatch.setattr(geo, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"rrsis-bench\[geo\].*--plain"):
        geo.locate(tmp_path / "geo.tif")
    assert geo.locate(tmp_path / "plain.tif") is None


def test_mask_lies_where_the_image_lies(tmp_path: Path) -> None:
    place = located(tmp_path / "scene.tif")
    import rasterio

    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    with rasterio.open(io.BytesIO(geo.map_files(bits(mask), place, {})["_mask.tif"])) as opened:
        assert opened.crs == place.crs
        assert opened.transform == place.transform
        assert (opened.read(1) == mask * 255).all()


def test_polygons_are_wgs84_counter_clockwise_and_in_the_right_place(tmp_path: Path) -> None:
    place = located(tmp_path / "scene.tif")
    from rasterio.warp import transform

    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    mask[13:16, 35:40] = 0  # a hole
    mask[30, 5] = 1
    found = features(mask, place)
    assert sorted(feature["properties"]["pixels"] for feature in found) == [1, 185]
    for feature in found:
        check_valid(feature)
    large = max(found, key=lambda feature: feature["properties"]["pixels"])
    ((outer, _hole),) = rings(large)
    assert large["properties"]["text"] == "the ship"
    xs, ys = transform(place.crs, "EPSG:4326", [270_000 + 15, 270_000 + 25], [3_300_000 - 5, 3_300_000 - 10])
    longitudes, latitudes = zip(*outer, strict=True)
    assert min(longitudes) == pytest.approx(min(xs), abs=2e-6)
    assert max(longitudes) == pytest.approx(max(xs), abs=2e-6)
    assert max(latitudes) == pytest.approx(max(ys), abs=2e-6)


def test_pixels_that_touch_at_corners_make_polygons_that_do_not_touch_themselves(tmp_path: Path) -> None:
    place = located(tmp_path / "scene.tif")
    rng = np.random.default_rng(3)
    for share in (0.3, 0.5, 0.7):
        mask = (rng.random((40, 60)) < share).astype(np.uint8)
        found = features(mask, place)
        for feature in found:
            check_valid(feature)
        assert sum(feature["properties"]["pixels"] for feature in found) == int(mask.sum())
    diagonal = np.zeros((40, 60), dtype=np.uint8)
    diagonal[5, 5] = diagonal[6, 6] = 1
    (feature,) = features(diagonal, place)
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert feature["properties"]["pixels"] == 2


def test_what_crosses_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    place = located(tmp_path / "edge.tif", crs="EPSG:4326", origin=(179.97, 10.0), size=0.001)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 10:50] = 1  # from 179.98 to 180.02 degrees
    (feature,) = features(mask, place)
    check_valid(feature)
    assert feature["geometry"]["type"] == "MultiPolygon"
    spans = sorted((min(x for x, _ in ring), max(x for x, _ in ring)) for (ring,) in rings(feature))
    assert spans[0] == pytest.approx((-180, -179.98), abs=1e-6)
    assert spans[1] == pytest.approx((179.98, 180), abs=1e-6)


def test_no_latitude_is_beyond_a_pole(tmp_path: Path) -> None:
    place = located(tmp_path / "polar.tif", crs="EPSG:4326", origin=(10.0, 90.75), size=0.25)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[0:6, 10:20] = 1  # from 90.75 down to 89.25 degrees
    mask[0:2, 30:40] = 1  # no part of it is on the globe
    mask[2, 12] = 0  # a hole that ends on the pole
    mask[0:2, 14:16] = 0
    near, beyond = sorted(features(mask, place), key=lambda feature: feature["geometry"] is None)
    assert beyond["geometry"] is None
    check_valid(near)
    latitudes = [y for polygon in rings(near) for ring in polygon for _, y in ring]
    assert (min(latitudes), max(latitudes)) == (89.25, 90.0)


def test_no_reference_system_is_said(tmp_path: Path) -> None:
    place = located(tmp_path / "nowhere.tif", crs=None)
    assert place.crs is None
    assert "no GeoJSON" in str(place.note)
    assert ".geojson" not in geo.map_files(bits(np.ones((40, 60), np.uint8)), place, {})


def test_ground_control_points_are_kept(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.control import GroundControlPoint

    corners = ((0, 0, 10.0, 50.0), (0, 60, 10.06, 50.0), (40, 0, 10.0, 49.96), (40, 60, 10.06, 49.96))
    points = [GroundControlPoint(row=row, col=col, x=x, y=y) for row, col, x, y in corners]
    with rasterio.open(
        tmp_path / "gcps.tif", "w", driver="GTiff", height=40, width=60, count=3, dtype="uint8"
    ) as opened:
        opened.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
        opened.write(np.zeros((3, 40, 60), np.uint8))
    place = geo.locate(tmp_path / "gcps.tif")
    assert place is not None
    assert "ground control points" in str(place.note)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    files = geo.map_files(bits(mask), place, {})
    with rasterio.open(io.BytesIO(files["_mask.tif"])) as written:
        kept, _ = written.gcps
        assert [(point.row, point.col, point.x, point.y) for point in kept] == list(corners)
    ((outer,),) = rings(json.loads(files[".geojson"])["features"][0])
    assert min(x for x, _ in outer) == pytest.approx(10.03, abs=1e-5)
    assert max(y for _, y in outer) == pytest.approx(49.99, abs=1e-5)
