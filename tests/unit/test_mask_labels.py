"""Mask files: whatever the depth and the colours, any number but 0 is foreground, or the file is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, MissingMaskError, decode, encode
from rrsis_bench.data.pixels import ImageError, RefusedImageError, foreground, raster, read_labels
from rrsis_bench.data.sources.base import read_mask_file
from rrsis_bench.results.predictions import PredictionError, count_predictions

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

MARKED = np.random.default_rng(3).random((23, 31)) < 0.3
TRUTH = np.roll(MARKED, 4, axis=1)
WHOLE = np.stack([MARKED * 0, MARKED * 0, MARKED * 1], axis=2).astype(np.uint8)


def write_raster(path: Path, *bands: NDArray[Any], **options: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    height, width = bands[0].shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": len(bands), "dtype": bands[0].dtype}
    with rasterio.open(path, "w", **profile, **options) as file:
        for number, band in enumerate(bands, 1):
            file.write(band, number)


def palette(path: Path, *colours: tuple[int, int, int], **options: Any) -> None:
    """The marks as indices 1 into colours."""
    image = Image.fromarray(MARKED.astype(np.uint8))
    image.putpalette(bytes(value for colour in colours for value in colour))
    image.save(path, **options)


def grey(path: Path, value: int, dtype: Any) -> None:
    Image.fromarray((MARKED * value).astype(dtype)).save(path)


WRITTEN = {
    "8 bits.png": lambda path: grey(path, 255, np.uint8),
    "8 bits, 1.png": lambda path: grey(path, 1, np.uint8),
    "8 bits.tif": lambda path: grey(path, 1, np.uint8),
    "1 bit.png": lambda path: Image.fromarray(MARKED).save(path),
    "1 bit.tif": lambda path: Image.fromarray(MARKED).save(path),
    # A number whose low byte is 0 is lost by a reader of 8 bits.
    "16 bits.png": lambda path: grey(path, 256, np.uint16),
    "16 bits.tif": lambda path: grey(path, 256, np.uint16),
    "32 bits.tif": lambda path: write_raster(path, (MARKED * 65536).astype(np.uint32)),
    "negative.tif": lambda path: write_raster(path, -MARKED.astype(np.int16)),
    "whole float.tif": lambda path: write_raster(path, MARKED.astype(np.float32)),
    # Colours that a conversion to grey turns into 0.
    "id colour.png": lambda path: Image.fromarray(WHOLE).save(path),
    "id colour.tif": lambda path: Image.fromarray(WHOLE).save(path),
    "id colour.bmp": lambda path: Image.fromarray(WHOLE).save(path),
    "id bands.tif": lambda path: write_raster(path, MARKED * np.uint16(0), MARKED * np.uint16(512)),
    "palette.png": lambda path: palette(path, (0, 0, 0), (0, 0, 1)),
    "palette.tif": lambda path: palette(path, (0, 0, 0), (0, 0, 1)),
    "opaque.png": lambda path: Image.fromarray(np.dstack([WHOLE, np.full_like(WHOLE[..., 0], 255)])).save(path),
    "opaque.tif": lambda path: write_raster(
        path, *WHOLE.transpose(2, 0, 1), np.full(MARKED.shape, 255, np.uint8), photometric="RGB", alpha="yes"
    ),
    "opaque grey.png": lambda path: Image.fromarray(WHOLE[..., 2]).convert("LA").save(path),
    "no data.tif": lambda path: write_raster(path, np.where(MARKED, 7, 255).astype(np.uint8), nodata=255),
}
REFUSED = {
    "probability.tif": (
        lambda path: write_raster(path, (MARKED * 0.5).astype(np.float32)),
        "float32 that are not whole; apply a threshold",
    ),
    "no number.tif": (
        lambda path: write_raster(path, np.where(MARKED, 1, np.nan).astype(np.float32)),
        "float32 that are not whole; apply a threshold",
    ),
    "transparent.png": (
        lambda path: Image.fromarray(np.dstack([WHOLE, WHOLE[..., 2] * 255])).save(path),
        "alpha channel that is not opaque everywhere: save one channel",
    ),
    "transparent grey.png": (
        lambda path: Image.fromarray(np.dstack([WHOLE[..., 2], WHOLE[..., 2] * 255]), "LA").save(path),
        "alpha channel that is not opaque everywhere: save one channel",
    ),
    "transparent palette.png": (
        lambda path: palette(path, (0, 0, 0), (0, 0, 1), transparency=0),
        "alpha channel that is not opaque everywhere: save one channel",
    ),
    "transparent.tif": (
        lambda path: write_raster(
            path, *WHOLE.transpose(2, 0, 1), WHOLE[..., 2] * np.uint8(255), photometric="RGB", alpha="yes"
        ),
        "alpha channel that is not opaque everywhere: save one channel",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_number_but_0_is_foreground(tmp_path, name):
    path = tmp_path / name
    WRITTEN[name](path)
    labels = read_labels(path)
    assert np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_
    np.testing.assert_array_equal(foreground(labels), MARKED)
    np.testing.assert_array_equal(decode(read_mask_file(path, 0).rle), MARKED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_leaves_a_choice_is_refused(tmp_path, name):
    write, said = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(RefusedImageError, match=said):
        read_labels(tmp_path / name)
    with pytest.raises(MaskError, match=said):
        read_mask_file(tmp_path / name, 0)


def test_a_palette_gives_its_colours_and_not_its_indices(tmp_path):
    for name in ("mask.png", "mask.tif"):
        palette(tmp_path / name, (255, 255, 255), (0, 0, 0))
        np.testing.assert_array_equal(foreground(read_labels(tmp_path / name)), ~MARKED)


def test_a_deep_mask_keeps_each_number(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 65536, MARKED.shape, dtype=np.uint16)
    Image.fromarray(numbers).save(tmp_path / "mask.png")
    write_raster(tmp_path / "mask.tif", numbers)
    for name in ("mask.png", "mask.tif"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), numbers)


def test_a_threshold_is_what_a_pixel_must_exceed_and_other_values_are_remarked(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "mask.png")
    read = read_mask_file(tmp_path / "mask.png", 127)
    np.testing.assert_array_equal(decode(read.rle), values > 127)
    assert "(1, 2, 3, 4, 5, 6, ...); above 127 is foreground" in read.remark
    grey(tmp_path / "deep.png", 300, np.uint16)
    assert "(300); whatever is not 0 is foreground" in read_mask_file(tmp_path / "deep.png", 0).remark
    grey(tmp_path / "usual.png", 255, np.uint8)
    assert read_mask_file(tmp_path / "usual.png", 0).remark == ""


def test_a_damaged_a_huge_and_a_missing_mask_are_refused(tmp_path):
    Image.fromarray(WHOLE).save(tmp_path / "mask.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "mask.tif").read_bytes())
    middle = len(data) // 3
    data[middle : middle + 40] = bytes(byte ^ 0xFF for byte in data[middle : middle + 40])
    (tmp_path / "mask.tif").write_bytes(data)
    with pytest.raises(MaskError, match="file is damaged"):
        read_mask_file(tmp_path / "mask.tif", 0)
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 20_000, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + b"\0\0\0\0"
    (tmp_path / "huge.png").write_bytes(head + struct.pack(">I", 0) + b"IDAT\0\0\0\0")
    with pytest.raises(MaskError, match=r"30,000 x 20,000 pixels.*cut it, and its image, into tiles"):
        read_mask_file(tmp_path / "huge.png", 0)
    with pytest.raises(MissingMaskError):
        read_mask_file(tmp_path / "none.png", 0)


def test_a_deep_mask_without_the_extra_names_the_remedy(tmp_path, monkeypatch):
    grey(tmp_path / "mask.tif", 256, np.uint16)
    monkeypatch.setattr(raster, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"16 bits.*pip install 'rrsis-bench\[geo\]'"):
        read_labels(tmp_path / "mask.tif")


def pairs() -> list[Pair]:
    height, width = TRUTH.shape
    return [Pair("one", "photo", "photo.png", width, height, encode(TRUTH), "a ship", "test", "ship")]


@pytest.mark.parametrize("name", [name for name in WRITTEN if name.endswith(".png")])
def test_a_predicted_mask_is_counted_whatever_its_depth_and_colours(tmp_path, name):
    WRITTEN[name](tmp_path / "one.png")
    expected = [TRUTH.sum(), MARKED.sum(), (TRUTH & MARKED).sum()]
    np.testing.assert_array_equal(count_predictions(tmp_path, pairs()), [expected])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_predicted_probabilities_and_transparent_masks_are_refused(tmp_path, dtype):
    Image.fromarray((MARKED * np.arange(31)).astype(dtype)).save(tmp_path / "one.png")
    with pytest.raises(PredictionError, match=r"31 different values.*apply your threshold"):
        count_predictions(tmp_path, pairs())
    REFUSED["transparent.png"][0](tmp_path / "one.png")
    with pytest.raises(PredictionError, match="alpha channel that is not opaque"):
        count_predictions(tmp_path, pairs())
