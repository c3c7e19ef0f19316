from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from rrsis_bench.engine import geo
from rrsis_bench.errors import UsageError


def test_plain_files_are_not_georeferenced(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\x00")
    assert not any(geo.is_georeferenced(tmp_path / name) for name in ("a.tif", "a.png", "broken.tif", "none.tif"))


def test_tags_of_place_are_seen_without_rasterio(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550] = (0.5, 0.5, 0.0)
    tags.tagtype[33550] = 12
    Image.new("RGB", (8, 8)).save(tmp_path / "geo.tif", tiffinfo=tags)
    assert geo.is_georeferenced(tmp_path / "geo.tif")


def test_without_the_extra_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"rrsis-bench\[geo\].*--plain"):
        geo.read(tmp_path / "geo.tif")


def write_scene(path: Path, dtype: str = "uint8", bands: int = 3, crs: str | None = "EPSG:32615") -> None:
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(0).integers(0, 200, (bands, 40, 60)).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=60, count=bands, dtype=dtype, crs=crs,
        transform=rasterio.transform.from_origin(270_000, 3_300_000, 0.5, 0.5),
    ) as opened:  # fmt: skip
        opened.write(values)


def test_mask_lies_where_the_image_lies(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene.tif")
    import rasterio

    scene = geo.read(tmp_path / "scene.tif")
    assert scene.image.shape == (40, 60, 3)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    with rasterio.open(io.BytesIO(geo.mask_geotiff(mask, scene))) as opened:
        assert opened.crs == scene.crs
        assert opened.transform == scene.transform
        assert (opened.read(1) == mask * 255).all()


def test_polygons_are_wgs84_counter_clockwise_and_in_the_right_place(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene.tif")
    from rasterio.warp import transform

    scene = geo.read(tmp_path / "scene.tif")
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:50] = 1
    mask[13:16, 35:40] = 0  # a hole
    mask[30, 5] = 1
    found = geo.polygons(mask, scene, {"text": "the ship"})
    assert sorted(feature["properties"]["pixels"] for feature in found["features"]) == [1, 185]
    large = max(found["features"], key=lambda feature: feature["properties"]["pixels"])
    outer, hole = large["geometry"]["coordinates"]
    assert geo._area(outer) > 0 > geo._area(hole)
    assert large["properties"]["text"] == "the ship"
    xs, ys = transform(scene.crs, "EPSG:4326", [270_000 + 15, 270_000 + 25], [3_300_000 - 5, 3_300_000 - 10])
    longitudes, latitudes = zip(*outer, strict=True)
    assert min(longitudes) == pytest.approx(min(xs), abs=2e-6)
    assert max(longitudes) == pytest.approx(max(xs), abs=2e-6)
    assert max(latitudes) == pytest.approx(max(ys), abs=2e-6)
    assert outer[0] == outer[-1]


def test_other_types_are_stretched_and_bands_chosen(tmp_path: Path) -> None:
    write_scene(tmp_path / "deep.tif", "uint16", 5)
    scene = geo.read(tmp_path / "deep.tif", (5, 4, 3))
    assert scene.image.dtype == np.uint8
    assert scene.image.min() == 0
    assert scene.image.max() == 255
    assert "stretched" in scene.notes[0]
    with pytest.raises(UsageError, match="5 bands"):
        geo.read(tmp_path / "deep.tif", (6, 1, 2))
    write_scene(tmp_path / "grey.tif", bands=1)
    grey = geo.read(tmp_path / "grey.tif").image
    assert (grey[..., 0] == grey[..., 2]).all()


def test_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    (tmp_path / "bad.tif").write_bytes(b"II*\x00 nothing")
    with pytest.raises(UsageError, match=r"bad\.tif") as caught:
        geo.read(tmp_path / "bad.tif")
    assert "\n" not in str(caught.value)


def test_no_reference_system_is_said(tmp_path: Path) -> None:
    write_scene(tmp_path / "nowhere.tif", crs=None)
    scene = geo.read(tmp_path / "nowhere.tif")
    assert scene.crs is None
    assert "no GeoJSON" in scene.notes[-1]
