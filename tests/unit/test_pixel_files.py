"""What the reader makes of files by their first bytes, of damage and of sizes; the rule that a user states."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rrsis_bench.cli import main
from rrsis_bench.data import pixels
from rrsis_bench.data.pixels import (
    ImageError,
    MissingImageError,
    PixelRule,
    RefusedImageError,
    open_image,
    opening,
    raster,
    read_rgb,
    reader,
)
from rrsis_bench.data.pixels.header import read_header
from rrsis_bench.errors import UsageError


def scene(height: int = 90, width: int = 130) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def saved(path: Path, image: np.ndarray | Image.Image, **how: object) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "bmp", "jp2", "gif", "ppm"])
def test_the_header_knows_the_size(suffix, tmp_path):
    path = saved(tmp_path / f"a.{suffix}", scene(37, 91))
    with path.open("rb") as stream:
        header = read_header(stream)
    assert (header.height, header.width, header.plain) == (37, 91, True)


def test_modes_of_8_bits_become_their_colours(tmp_path):
    image = Image.fromarray(scene())
    transparent = image.convert("RGBA")
    transparent.putalpha(Image.fromarray(scene()[..., 0]))
    assert (read_rgb(saved(tmp_path / "rgba.png", transparent)) == scene()).all()
    palette = image.quantize(16)
    assert (read_rgb(saved(tmp_path / "p.png", palette)) == np.asarray(palette.convert("RGB"))).all()
    for mode in ("L", "LA", "1"):
        grey = image.convert(mode)
        expected = np.repeat(np.asarray(grey.convert("L"))[..., None], 3, axis=2)
        assert (read_rgb(saved(tmp_path / f"{mode}.png", grey)) == expected).all()
    assert (read_rgb(saved(tmp_path / "L.tif", image.convert("L"))) == np.asarray(image.convert("L"))[..., None]).all()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_either_byte_order_and_offset_size(big, order, tmp_path):
    """Written by hand, tag by tag: no writer at hand makes all four."""
    if big and order == ">":
        pytest.importorskip("rasterio")
    image, word = scene(8, 9), "Q" if big else "I"
    start = 16 if big else 8
    entries = {256: ("H", 9), 257: ("H", 8), 258: ("H", (8, 8, 8)), 259: ("H", 1), 262: ("H", 2), 273: (word, start),
               277: ("H", 3), 278: ("H", 8), 279: (word, image.nbytes)}  # fmt: skip
    extra_at = start + image.nbytes
    table, codes = b"", {"H": 3, "I": 4, "Q": 16}
    for tag, (kind, value) in entries.items():
        values = value if isinstance(value, tuple) else (value,)
        field = struct.pack(order + kind * len(values), *values)
        field = field.ljust(struct.calcsize(word), b"\0") if len(field) <= struct.calcsize(word) else (
            struct.pack(order + word, extra_at))  # fmt: skip
        table += struct.pack(order + "HH" + word, tag, codes[kind], len(values)) + field
    extra = struct.pack(order + "HHH", 8, 8, 8)
    counted = struct.pack(order + ("Q" if big else "H"), len(entries))
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    head += struct.pack(order + word, extra_at + len(extra))
    (tmp_path / "a.tif").write_bytes(head + image.tobytes() + extra + counted + table + bytes(struct.calcsize(word)))
    assert (read_rgb(tmp_path / "a.tif") == image).all()


def test_what_follows_the_end_is_no_fault_and_an_early_end_is(tmp_path):
    for suffix in ("jpg", "png"):
        whole = saved(tmp_path / f"whole.{suffix}", scene()).read_bytes()
        (tmp_path / f"more.{suffix}").write_bytes(whole + bytes(5000))
        assert (read_rgb(tmp_path / f"more.{suffix}") == read_rgb(tmp_path / f"whole.{suffix}")).all()
        for kept in (0.3, 0.9, 0.999):
            (tmp_path / f"cut.{suffix}").write_bytes(whole[: int(kept * len(whole))] + bytes(2000))
            with pytest.raises(ImageError, match="truncated"):
                read_rgb(tmp_path / f"cut.{suffix}")


DAMAGED = {"lzw.tif": {"compression": "tiff_lzw"}, "deflate.tif": {"compression": "tiff_adobe_deflate"}, "png": {}}


@pytest.mark.parametrize(("suffix", "how"), DAMAGED.items())
def test_damage_inside_is_refused(suffix, how, tmp_path):
    """A single deflated strip inflates to its length and half of it is wrong: only its checksum tells."""
    data = bytearray(saved(tmp_path / f"a.{suffix}", scene(), **how).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    (tmp_path / f"b.{suffix}").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_rgb(tmp_path / f"b.{suffix}")


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"II*\0\xff\xff\xff\xff", b"BM",
     b"II*\0\x08\0\0\0\xff\xff", b"RIFF\0\0\0\0WEBP", b"\xff\x4f\xff\x51\0\0", b"GIF89a", b"P6\n1"],
)  # fmt: skip
def test_what_is_no_image_is_refused(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="no image"):
        read_rgb(tmp_path / "a.png")


def test_missing_files_and_folders(tmp_path):
    for name in ("none.png", "zero\0byte.png"):
        with pytest.raises(MissingImageError):
            read_rgb(tmp_path / name)
    with pytest.raises(ImageError, match="cannot be read"):
        read_rgb(tmp_path)


def header_of(height: int, width: int) -> bytes:
    """A PNG that states a size, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stated = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", stated) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_huge_plain_image_is_refused_with_its_size_before_it_is_decoded(tmp_path, monkeypatch, capsys):
    (tmp_path / "huge.png").write_bytes(header_of(30_000, 40_000))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(RefusedImageError, match=r"40,000 x 30,000.*268,435,456.*gdal_translate"):
        read_rgb(tmp_path / "huge.png")
    (tmp_path / "manifest.jsonl").write_text(
        '{"image": "huge.png", "rle": {"size": [2, 2], "counts": "04"}, "expression": "a ship", "split": "test"}\n'
    )
    assert main(["data", "verify", "own", "--manifest", str(tmp_path / "manifest.jsonl")]) == 3
    assert "40,000 x 30,000" in " ".join(capsys.readouterr().out.split())


def test_the_limits_are_ours_and_not_pillows(tmp_path, monkeypatch):
    """Pillow refuses 178,956,970 pixels and more; here its limit is set to nearly nothing."""
    path = saved(tmp_path / "a.tif", scene(), compression="tiff_lzw")
    saved(tmp_path / "a.bmp", scene())
    assert opening._MOST_BY_PILLOW < Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert (read_rgb(tmp_path / "a.bmp") == scene()).all()
    monkeypatch.setattr(opening, "_MOST_BY_PILLOW", 90 * 130 - 1)
    monkeypatch.setattr(opening, "have_rasterio", lambda: False)
    monkeypatch.setattr(raster, "have_rasterio", lambda: False)
    with pytest.raises(RefusedImageError, match=r"130 x 90 pixels.*rrsis-bench\[geo\]"):
        read_rgb(path)
    monkeypatch.setattr(reader, "LIMIT", 90 * 130 - 1)
    with pytest.raises(RefusedImageError, match="130 x 90"):
        read_rgb(tmp_path / "a.bmp")


def test_a_stretch_does_not_touch_8_bits(tmp_path):
    path = saved(tmp_path / "a.png", scene())
    with open_image(path, PixelRule.from_config({"stretch": [0, 10]})) as image:
        assert (image.read() == scene()).all()
        assert image.applied == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strech": [0, 1]}, "Did you mean 'stretch'"),
        ({"stretch": [5, 5]}, "stretch"),
        ({"stretch": [1, 2, 3]}, "stretch"),
        ({"stretch": [0, float("nan")]}, "stretch"),
        ({"stretch": "percentiles-98-2"}, "stretch"),
        ({"stretch": "percentiles"}, "stretch"),
        ({"bands": [0, 1, 2]}, "bands 0,1,2"),
        ({"bands": [1, 2]}, "bands 1,2"),
        ({"bands": "RGB"}, "bands RGB"),
    ],
)
def test_rules_that_make_no_sense(values, message):
    with pytest.raises(UsageError, match=message):
        PixelRule.from_config(values)


def test_flags_and_configuration_state_the_same_rule():
    stated = PixelRule.from_config({"bands": [4, 3, 2], "stretch": [0, 2047]})
    assert PixelRule().with_words("4, 3,2", "0,2047") == stated
    assert PixelRule.from_config(stated.to_config()) == stated
    assert PixelRule().with_words(None, "percentiles-1-99").stretch.to_config() == "percentiles-1-99"
    for bands, stretch in (("1,2", None), ("a,b,c", None), (None, "9"), (None, "a,b"), (None, "3,1")):
        with pytest.raises(UsageError):
            PixelRule().with_words(bands, stretch)


def test_the_percentiles_of_a_large_image_are_those_of_evenly_spaced_pixels(monkeypatch):
    from rrsis_bench.data.pixels import rule

    monkeypatch.setattr(rule, "_MOST_PIXELS", 100)
    assert rule.spacing(10, 10) == 1
    assert rule.spacing(100, 30) == 6
    assert -(-100 // 6) * -(-30 // 6) <= 100


def test_equal_pixels_share_a_hash(tmp_path):
    assert pixels.pixel_hash(scene()) == pixels.pixel_hash(scene()[:, ::-1][:, ::-1])
    assert pixels.pixel_hash(scene()) != pixels.pixel_hash(scene().reshape(130, 90, 3))
