"""Images: whatever the file, its pixels are those that other libraries see, or it is refused with a remedy."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rrsis_bench.data.dataset import ReferringDataset
from rrsis_bench.data.manifest import Manifest, write_manifest
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import ImageError, PixelRule, RefusedImageError, open_image, raster, read_rgb
from rrsis_bench.data.pixels.errors import DAMAGED
from rrsis_bench.data.sources import create
from rrsis_bench.data.sources.base import Finding, Source
from rrsis_bench.errors import MissingResourceError
from rrsis_bench.types import InputSpec

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

HEIGHT, WIDTH = 37, 52
RNG = np.random.default_rng(7)
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([3 * ROWS + COLUMNS, 255 - 4 * COLUMNS, 5 * ROWS], axis=2).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
DEEP = RNG.integers(1, 2048, (HEIGHT, WIDTH, 3), dtype=np.uint16)
BANDS = RNG.integers(0, 256, (HEIGHT, WIDTH, 8), dtype=np.uint8)
INDICES = RNG.integers(0, 5, (HEIGHT, WIDTH), dtype=np.uint8)
TABLE = np.array([[9, 8, 7], [255, 0, 0], [0, 200, 10], [1, 2, 250], [40, 41, 42]], np.uint8)


def write_raster(path: Path, pixels: NDArray[Any], names: tuple[str, ...] = (), **options: Any) -> None:
    """Pixels (H, W, C) as a TIFF written by rasterio, its bands described by names."""
    rasterio = pytest.importorskip("rasterio")
    height, width, count = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": pixels.dtype, **options}
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)


def with_palette() -> Image.Image:
    image = Image.fromarray(INDICES)
    image.putpalette(TABLE.tobytes())
    return image


def stretched(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    return (np.clip(values.astype(np.float64), low, high) - low) * 255 / (high - low)


def source_of(root: Path, image: str, rule: PixelRule | None = None) -> Source:
    line = {"image": image, "expression": "a ship", "split": "train", "rle": encode(INDICES == 1)}
    (root / "manifest.jsonl").write_text(json.dumps(line), encoding="utf-8")
    source = create("manifest")
    source.pixels = rule or PixelRule()
    return source


def findings(root: Path, image: str) -> list[Finding]:
    return [finding for finding in source_of(root, image).verify(root) if finding.file == image]


def through_the_dataset(root: Path, image: str, rule: PixelRule) -> NDArray[np.uint8]:
    write_manifest(root / "prepared.jsonl", source_of(root, image, rule).prepare(root))
    manifest = Manifest.open(root / "prepared.jsonl")
    return ReferringDataset(manifest, root, InputSpec((32, 32), "tiny", 8)).sample(0).image


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "jpg", "tif", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_files_hold_the_pixels_that_pillow_sees(tmp_path, suffix, mode):
    path = tmp_path / f"image.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(COLOURS).convert(mode).save(path, **options)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_rgb(path), np.array(image.convert("RGB")))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_holds_the_pixels_that_were_written(tmp_path, compression):
    Image.fromarray(COLOURS).save(tmp_path / "image.tif", compression=compression)
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.tif"), COLOURS)


def test_alpha_is_left_out_and_multiplies_nothing(tmp_path):
    Image.fromarray(BANDS[..., :4], "RGBA").save(tmp_path / "image.png")
    write_raster(tmp_path / "image.tif", BANDS[..., :4], photometric="RGB", alpha="yes")
    for name in ("image.png", "image.tif"):
        np.testing.assert_array_equal(read_rgb(tmp_path / name), BANDS[..., :3])


@pytest.mark.parametrize(
    ("names", "options", "taken", "stated"),
    [
        ((), {"photometric": "RGB", "alpha": "no"}, (0, 1, 2), True),
        ((), {"photometric": "MINISBLACK"}, (0, 1, 2), False),
        (("blue", "green", "red", "nir"), {"photometric": "MINISBLACK"}, (2, 1, 0), True),
        (("Band 1", "Band 2", "Band 3", "NIR"), {"photometric": "MINISBLACK"}, (0, 1, 2), False),
    ],
)
def test_four_bands_give_the_three_that_the_file_calls_colours(tmp_path, names, options, taken, stated):
    write_raster(tmp_path / "image.tif", BANDS[..., :4], names, **options)
    with open_image(tmp_path / "image.tif") as image:
        np.testing.assert_array_equal(image.read(), BANDS[..., taken])
        np.testing.assert_array_equal(image.read((3, 5, 20, 30)), BANDS[3:23, 5:35][..., taken])
        assert [note.check for note in image.notes] == ([] if stated else ["unstated-bands"])


def test_minisblack_is_as_the_file_states(tmp_path):
    write_raster(tmp_path / "three.tif", COLOURS, photometric="MINISBLACK")
    np.testing.assert_array_equal(read_rgb(tmp_path / "three.tif"), COLOURS)
    write_raster(
        tmp_path / "one.tif", COLOURS[..., :1], photometric="MINISBLACK", tiled=True, blockxsize=16, blockysize=16
    )
    np.testing.assert_array_equal(read_rgb(tmp_path / "one.tif"), COLOURS[..., [0, 0, 0]])
    write_raster(tmp_path / "white.tif", COLOURS[..., :1], photometric="MINISWHITE")
    np.testing.assert_array_equal(read_rgb(tmp_path / "white.tif"), 255 - COLOURS[..., [0, 0, 0]])
    write_raster(tmp_path / "bits.tif", COLOURS[..., :1] // 16, photometric="MINISBLACK", nbits=4)
    np.testing.assert_array_equal(read_rgb(tmp_path / "bits.tif"), COLOURS[..., [0, 0, 0]] // 16 * 17)


def test_what_is_stated_of_bands_goes_before_what_the_file_says(tmp_path):
    write_raster(tmp_path / "image.tif", BANDS[..., :4], photometric="RGB", alpha="no")
    rule = PixelRule.from_config({"bands": [4, 3, 2]})
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.tif", rule), BANDS[..., [3, 2, 1]])
    np.testing.assert_array_equal(through_the_dataset(tmp_path, "image.tif", rule), BANDS[..., [3, 2, 1]])


@pytest.mark.parametrize("options", [{}, {"nbits": 11}, {"compress": "deflate", "interleave": "band"}])
def test_deep_values_are_stretched_by_the_stated_range_for_every_verb(tmp_path, options):
    write_raster(tmp_path / "image.tif", DEEP, photometric="RGB", **options)
    rule = PixelRule.from_config({"stretch": [0, 2040]})  # an eighth of each value, without a rounding error
    expected = np.rint(np.minimum(DEEP, 2040) / 8)
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.tif", rule), expected)
    np.testing.assert_array_equal(through_the_dataset(tmp_path, "image.tif", rule), expected)
    assert through_the_dataset(tmp_path, "image.tif", rule).dtype == np.uint8


def test_deep_values_without_a_stated_range_are_stretched_by_percentiles_with_a_finding(tmp_path):
    write_raster(tmp_path / "image.tif", DEEP, photometric="RGB")
    image = read_rgb(tmp_path / "image.tif")
    low, high = np.percentile(DEEP, (2, 98))
    assert np.abs(image - stretched(DEEP, low, high)).max() < 0.51
    np.testing.assert_array_equal(through_the_dataset(tmp_path, "image.tif", PixelRule()), image)
    with open_image(tmp_path / "image.tif") as windows:
        np.testing.assert_array_equal(windows.read((4, 6, 20, 30)), image[4:24, 6:36])
    (finding,) = findings(tmp_path, "image.tif")
    assert (finding.severity, finding.check) == ("warning", "unstated-range")
    assert "data.pixels.stretch" in finding.message


@pytest.mark.parametrize("stretch", [[100, 1900], "percentiles-1-99"])
def test_a_deep_png_is_the_same_picture_as_a_deep_tiff(tmp_path, stretch):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "image.png")
    write_raster(tmp_path / "image.tif", DEEP[..., :1])
    rule = PixelRule.from_config({"stretch": stretch})
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.png", rule), read_rgb(tmp_path / "image.tif", rule))
    limits = stretch if isinstance(stretch, list) else np.percentile(DEEP[..., 0], (1, 99))
    expected = stretched(DEEP[..., [0, 0, 0]], *limits)
    assert np.abs(read_rgb(tmp_path / "image.png", rule) - expected).max() < 0.51


def test_no_data_and_no_number_are_black_and_count_for_no_percentile(tmp_path):
    values = DEEP.astype(np.float32)
    values[:9] = np.nan
    values[9:18] = -9999
    write_raster(tmp_path / "image.tif", values, photometric="RGB", nodata=-9999)
    image = read_rgb(tmp_path / "image.tif")
    assert not image[:18].any()
    low, high = np.percentile(DEEP[18:], (2, 98))
    assert np.abs(image[18:] - stretched(DEEP[18:], low, high)).max() < 0.51


def test_a_palette_is_read_as_its_colours(tmp_path):
    for name in ("image.png", "image.tif", "image.gif"):
        with_palette().save(tmp_path / name)
        np.testing.assert_array_equal(read_rgb(tmp_path / name), TABLE[INDICES], err_msg=name)
    with open_image(tmp_path / "image.tif") as image:
        np.testing.assert_array_equal(image.read((2, 3, 20, 11)), TABLE[INDICES[2:22, 3:14]])


def lzw(path: Path) -> None:
    Image.fromarray(COLOURS).save(path, compression="tiff_lzw")


def deep_lzw(path: Path) -> None:
    write_raster(path, DEEP, photometric="RGB", compress="lzw")


@pytest.mark.parametrize("write", [lzw, deep_lzw])
def test_a_tiff_of_flipped_bytes_is_refused(tmp_path, write: Callable[[Path], None]):
    path = tmp_path / "image.tif"
    write(path)
    read_rgb(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(byte ^ 0xFF for byte in data[middle : middle + 200])
    path.write_bytes(data)
    with pytest.raises(ImageError, match=DAMAGED):
        read_rgb(path)
    (finding,) = findings(tmp_path, "image.tif")
    assert (finding.severity, finding.check) == ("error", "corrupt-image")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "gif", "webp"])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, part):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(COLOURS).save(path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(ImageError, match=DAMAGED):
        read_rgb(path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("tail", [b"\0" * 7, RNG.bytes(100_000), b"\xff\xd8\xff\xe1\0\x10"])
def test_a_whole_file_with_trailing_bytes_is_read(tmp_path, suffix, tail):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(SMOOTH).save(path)
    expected = read_rgb(path)
    path.write_bytes(path.read_bytes() + tail)
    np.testing.assert_array_equal(read_rgb(path), expected)


def test_the_thumbnail_of_a_truncated_photograph_does_not_make_it_whole(tmp_path):
    thumbnail = BytesIO()
    Image.fromarray(SMOOTH[:8, :8]).save(thumbnail, "jpeg")
    Image.fromarray(COLOURS).save(tmp_path / "image.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0" + thumbnail.getvalue())
    read_rgb(tmp_path / "image.jpg")
    data = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "image.jpg").write_bytes(data[: len(data) * 4 // 5])
    with pytest.raises(ImageError, match=DAMAGED):
        read_rgb(tmp_path / "image.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_an_orientation_is_a_finding_and_turns_nothing(tmp_path, suffix, orientation):
    if suffix == "tif" and orientation != 1:
        pytest.importorskip("rasterio")
    path = tmp_path / f"image.{suffix}"
    plain = tmp_path / f"plain.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLOURS).save(plain)
    Image.fromarray(COLOURS).save(path, exif=exif)
    np.testing.assert_array_equal(read_rgb(path), read_rgb(plain))
    found = findings(tmp_path, path.name)
    assert [(one.severity, one.check) for one in found] == [("warning", "orientation")] * (orientation != 1)
    assert all(f"orientation {orientation}" in one.message for one in found)


def test_without_the_extra_plain_files_are_read_and_others_name_the_remedy(tmp_path, monkeypatch):
    write_raster(tmp_path / "deep.tif", DEEP, photometric="RGB")
    with_palette().save(tmp_path / "palette.tif")
    for name in ("plain.tif", "plain.png"):
        Image.fromarray(COLOURS).save(tmp_path / name)
    monkeypatch.setattr(raster, "find_spec", lambda name: None)
    for name in ("plain.tif", "plain.png"):
        np.testing.assert_array_equal(read_rgb(tmp_path / name), COLOURS)
    for name, said in (("deep.tif", "3 bands of 16 bits"), ("palette.tif", "colour table")):
        with pytest.raises(RefusedImageError, match=rf"{said}.*pip install 'rrsis-bench\[geo\]'"):
            read_rgb(tmp_path / name)
        assert [finding.check for finding in findings(tmp_path, name)] == ["refused-image"]


@pytest.mark.parametrize(
    ("pixels", "names", "said"),
    [
        (BANDS, (), "8 bands"),
        (BANDS[..., :2], (), "2 bands"),
        (BANDS[..., :3], ("red", "green", "nir"), "red, green, nir"),
    ],
)
def test_bands_that_cannot_be_told_are_refused_with_what_to_state(tmp_path, pixels, names, said):
    write_raster(tmp_path / "image.tif", pixels, names, photometric="MINISBLACK")
    with pytest.raises(RefusedImageError, match=rf"{said}.*data\.pixels\.bands=\[R, G, B\].*--bands R,G,B"):
        read_rgb(tmp_path / "image.tif")
    with pytest.raises(MissingResourceError, match=r"data\.pixels\.bands"):
        through_the_dataset(tmp_path, "image.tif", PixelRule())
    with pytest.raises(RefusedImageError, match=r"so it has no bands 9,2,1; state others"):
        read_rgb(tmp_path / "image.tif", PixelRule((9, 2, 1)))
    np.testing.assert_array_equal(read_rgb(tmp_path / "image.tif", PixelRule((2, 1, 2))), pixels[..., [1, 0, 1]])


def test_complex_numbers_are_no_picture(tmp_path):
    write_raster(tmp_path / "image.tif", DEEP[..., :1].astype(np.complex64))
    with pytest.raises(RefusedImageError, match="complex64 are no picture; convert it"):
        read_rgb(tmp_path / "image.tif")


def test_a_huge_plain_image_is_refused_with_its_size_before_it_is_decoded(tmp_path):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 20_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + b"\0\0\0\0" + struct.pack(">I", 0) + b"IDAT\0\0\0\0"
    (tmp_path / "image.png").write_bytes(data)
    with pytest.raises(RefusedImageError, match=r"30,000 x 20,000 pixels.*cut it into tiles"):
        open_image(tmp_path / "image.png")


def test_a_huge_tiff_is_read_by_windows_only(tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 30_000, "height": 20_000, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(tmp_path / "image.tif", "w", photometric="RGB", sparse_ok=True, **profile) as file:
        file.write(COLOURS.transpose(2, 0, 1), window=((19_000, 19_000 + HEIGHT), (29_000, 29_000 + WIDTH)))
    with open_image(tmp_path / "image.tif") as image:
        np.testing.assert_array_equal(image.read((19_000, 29_000, HEIGHT, WIDTH)), COLOURS)
        with pytest.raises(RefusedImageError, match="30,000 x 20,000"):
            image.read()
    monkeypatch.setattr(raster, "find_spec", lambda name: None)
    with pytest.raises(RefusedImageError, match=r"rrsis-bench\[geo\]"):
        open_image(tmp_path / "image.tif")
