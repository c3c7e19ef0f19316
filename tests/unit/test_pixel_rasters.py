"""Rasters of rarer kinds, read whole and by windows. The referee is rasterio, called by hand."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rrsis_bench.data.pixels import (
    ImageError,
    PixelRule,
    RefusedImageError,
    open_image,
    opening,
    raster,
    read_rgb,
    rule,
)

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

H, W = 70, 90


def colours(bands: int = 3) -> np.ndarray:
    """(bands, H, W) uint8, each band another picture."""
    return np.random.default_rng(0).integers(0, 250, (bands, H, W), dtype=np.uint8)


def write(path: Path, values: np.ndarray, interpretation: tuple[str, ...] = (), **how: object) -> Path:
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, **how
    ) as dataset:
        if interpretation:
            dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in interpretation]
        dataset.write(values)
    return path


def rgb(values: np.ndarray, bands: tuple[int, int, int] = (1, 2, 3)) -> np.ndarray:
    return values[[band - 1 for band in bands]].transpose(1, 2, 0)


ORDERS = {
    "rgb and nir as gdal writes them": (4, {}, (), (1, 2, 3), False),
    "three of nothing": (3, {"photometric": "MINISBLACK"}, (), (1, 2, 3), True),
    "blue first": (4, {}, ("blue", "green", "red", "undefined"), (3, 2, 1), False),
    "infrared first": (5, {}, ("nir", "red", "green", "blue", "undefined"), (2, 3, 4), False),
    "grey and alpha": (2, {"alpha": "YES"}, (), (1, 1, 1), False),
    "planes apart": (3, {"photometric": "RGB", "interleave": "band"}, (), (1, 2, 3), False),
    "zstd": (3, {"photometric": "RGB", "compress": "zstd"}, (), (1, 2, 3), False),
    "tiled, sparse": (3, {"photometric": "RGB", "tiled": True, "blockxsize": 16, "blockysize": 16,
                          "sparse_ok": True}, (), (1, 2, 3), False),
}  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_bands_are_what_the_file_says(order, tmp_path):
    count, how, interpretation, expected, noted = ORDERS[order]
    values = colours(count)
    values[:, :32, :32] = 0
    path = write(tmp_path / "a.tif", values, interpretation, **how)
    with open_image(path) as image:
        assert (image.read() == rgb(values, expected)).all()
        assert (image.read((5, 20, 40, 30)) == rgb(values, expected)[5:45, 20:50]).all()
        assert [note.check for note in image.notes] == ["unstated-bands"] * noted
        assert image.applied == {}


def test_descriptions_that_name_no_colour_are_refused_and_empty_ones_are_not(tmp_path):
    path = write(tmp_path / "a.tif", colours(4), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("B02", "B03", "B04", "B08")
    with pytest.raises(RefusedImageError, match=r"b02, b03, b04, b08.*--bands"):
        read_rgb(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Band 1", "band_2", "Layer3", "")
    assert (read_rgb(path) == rgb(colours(4))).all()


def test_stated_bands_hold_for_any_format(tmp_path):
    Image.fromarray(rgb(colours())).save(tmp_path / "a.png")
    assert (read_rgb(tmp_path / "a.png", PixelRule((3, 2, 1))) == rgb(colours(), (3, 2, 1))).all()
    Image.fromarray(rgb(colours())).save(tmp_path / "a.tif")
    assert (read_rgb(tmp_path / "a.tif", PixelRule((3, 2, 1))) == rgb(colours(), (3, 2, 1))).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("photometric", ["palette", "minisblack"])
def test_a_colour_table_gives_colours(dtype, photometric, tmp_path):
    table = {k: tuple(int(c) for c in np.random.default_rng(k).integers(0, 256, 3)) for k in range(9)}
    indices = np.random.default_rng(1).integers(0, 9, (1, H, W)).astype(dtype)
    path = write(tmp_path / "a.tif", indices, photometric=photometric)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, table)
    assert (read_rgb(path) == np.array([table[k] for k in range(9)], np.uint8)[indices[0]]).all()


def test_a_fax_is_black_and_white(tmp_path):
    bits = colours(1)[0] > 99
    Image.fromarray(bits).save(tmp_path / "a.tif", compression="group4")
    assert (read_rgb(tmp_path / "a.tif")[..., 1] == bits * 255).all()


@pytest.mark.parametrize("how", [{}, {"compress": "lzw", "predictor": 2}, {"compress": "deflate", "tiled": True,
                                 "blockxsize": 32, "blockysize": 32}, {"bigtiff": "yes"}])  # fmt: skip
@pytest.mark.parametrize("count", [1, 3])
def test_a_plain_tiff_has_the_same_pixels_by_pillow_and_by_rasterio(how, count, tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", colours(count), **({"photometric": "RGB"} if count == 3 else {}), **how)
    monkeypatch.setattr(raster, "RasterReader", lambda *_: pytest.fail("by rasterio"))
    monkeypatch.setattr(opening, "RasterReader", raster.RasterReader)
    whole = read_rgb(path)
    monkeypatch.undo()
    monkeypatch.setattr(opening, "_LARGE", 100)
    with open_image(path) as image:
        assert isinstance(image, raster.RasterReader)
        assert (image.read() == whole).all()


DEEP = {
    "11 bits": np.uint16, "16 bits below 0": np.int16, "32 bits": np.int32, "float": np.float32, "double": np.float64,
    "8 bits below 0": np.int8,
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
def test_deep_values_are_stretched_by_the_stated_range_or_their_own_percentiles(kind, tmp_path):
    values = (colours().astype(np.float64) / 2 - 40 * (DEEP[kind] not in {np.uint16})).astype(DEEP[kind])
    path = write(tmp_path / "a.tif", values, photometric="RGB")
    low, high = np.percentile(values, [2, 98])
    for stated, limits in (({}, (low, high)), ({"stretch": [-10, 90]}, (-10, 90))):
        expected = np.clip((rgb(values).astype(np.float64) - limits[0]) / (limits[1] - limits[0]) * 255, 0, 255)
        with open_image(path, PixelRule.from_config(stated)) as image:
            assert np.abs(image.read() - expected).max() <= 0.5 + 1e-4
            assert image.applied == {"stretch": stated.get("stretch", "percentiles-2-98")}
            assert [note.check for note in image.notes] == ([""] if stated else ["unstated-range"])


@pytest.mark.parametrize("rows", [1, 7, H, 1000])
def test_windows_see_the_range_of_the_whole_image(rows, tmp_path, monkeypatch):
    values = (colours().astype(np.uint16) * 8).astype(np.uint16)
    values[:, 40:] //= 16
    path = write(tmp_path / "a.tif", values, photometric="RGB")
    monkeypatch.setattr(rule, "_MOST_PIXELS", 500)
    monkeypatch.setattr(raster, "_STRIP_BYTES", rows * W * 3 * 2)
    whole = read_rgb(path)
    with open_image(path) as image:
        parts = [image.read((top, 0, min(13, H - top), W)) for top in range(0, H, 13)]
    assert (np.concatenate(parts) == whole).all()
    step = rule.spacing(H, W)
    assert step > 2
    low, high = np.percentile(values[:, ::step, ::step], [2, 98])
    expected = np.clip((rgb(values).astype(np.float64) - low) / (high - low) * 255, 0, 255)
    assert np.abs(whole - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("kind", ["mask", "alpha"])
def test_pixels_without_data_do_not_count_and_are_black(kind, tmp_path):
    values, path = colours().astype(np.uint16) * 8, tmp_path / "a.tif"
    gone = np.zeros((H, W), bool)
    gone[:30, :50] = True
    if kind == "mask":
        write(path, values, photometric="RGB")
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~gone)
    else:
        alpha = np.where(gone, 0, 65535)[None].astype(np.uint16)
        write(path, np.concatenate([values, alpha]), ("red", "green", "blue", "alpha"), photometric="RGB")
    low, high = np.percentile(values[:, ~gone], [2, 98])
    expected = np.clip((rgb(values)[~gone] - low) / (high - low) * 255, 0, 255)
    with open_image(path) as image:
        part = image.read((0, 0, H, W - 1))
        whole = image.read()
    assert (part == whole[:, :-1]).all()
    assert (whole[gone] == 0).all()
    assert np.abs(whole[~gone] - expected).max() <= 0.5 + 1e-3


def test_8_bits_are_as_stored_whatever_is_declared(tmp_path):
    values = colours(4)
    path = write(tmp_path / "a.tif", values, photometric="RGB", nodata=7)
    assert (read_rgb(path) == rgb(values)).all()


def test_nothing_but_no_data_is_black(tmp_path):
    path = write(tmp_path / "a.tif", np.full((3, H, W), np.nan, np.float32), photometric="RGB")
    assert (read_rgb(path) == 0).all()
    path = write(tmp_path / "b.tif", np.full((3, H, W), 900, np.uint16), photometric="RGB")
    assert len(np.unique(read_rgb(path))) == 1


@pytest.mark.parametrize("compress", ["lzw", "deflate", "zstd", "packbits", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("damage", ["zeros", "cut"])
def test_damage_is_refused_also_where_windows_are_read(compress, dtype, damage, tmp_path, monkeypatch):
    if damage == "zeros" and compress in {"zstd", "packbits", "none"}:
        pytest.skip("as libtiff writes them, these hold no checksum: noise of other values is as good as any")
    path = write(tmp_path / "a.tif", colours().astype(dtype), photometric="RGB", compress=compress, blockysize=H)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-len(data) // 3 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    for large in (1 << 24, 10):
        monkeypatch.setattr(opening, "_LARGE", large)
        with pytest.raises(ImageError, match="damaged"), open_image(path, PixelRule()) as image:
            image.read((0, 0, H, W))


@pytest.mark.parametrize("threads", [False, True])
def test_a_damaged_jpeg_inside_a_tiff_is_refused(threads, tmp_path):
    """GDAL only warns of it; the warning is that of the thread that read the file."""
    picture = cv2.GaussianBlur(rgb(colours()), (0, 0), 3)
    whole = read_rgb(write(tmp_path / "a.tif", picture.transpose(2, 0, 1), photometric="YCBCR", compress="jpeg"))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[-300:-236] = bytes(64)
    (tmp_path / "b.tif").write_bytes(data)
    if not threads:
        with pytest.raises(ImageError, match="damaged"):
            read_rgb(tmp_path / "b.tif")
        return

    def damaged(name: str) -> bool:
        try:
            return bool((read_rgb(tmp_path / name) != whole).any())
        except ImageError:
            return True

    names = ["a.tif", "b.tif"] * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(damaged, names)) == [name == "b.tif" for name in names]


def test_reduced_is_an_average_of_the_whole(tmp_path):
    values = np.repeat(np.repeat(colours()[:, ::10, ::10], 10, axis=1), 10, axis=2)
    with open_image(write(tmp_path / "a.tif", values, photometric="MINISBLACK")) as image:
        assert (image.reduced(7, 9) == rgb(values)[::10, ::10]).all()
    deep = write(tmp_path / "b.tif", values.astype(np.uint16) * 5, photometric="RGB")
    with open_image(deep, PixelRule.from_config({"stretch": [0, 1275]})) as image:
        assert (image.reduced(7, 9) == rgb(values)[::10, ::10]).all()


SPACES = {
    "RGB.jp2": ("RGB", True), "L.jp2": ("L", True), "RGBA.jp2": ("RGBA", False), "LA.jp2": ("LA", False),
    "RGB.j2k": ("RGB", False), "L.j2k": ("L", False),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_jpeg_2000_by_its_colour_space(name, tmp_path):
    """OpenCV, which decodes the plain ones, takes three bands without a colour space for grey."""
    mode, plain = SPACES[name]
    picture = Image.fromarray(rgb(colours())).convert(mode)
    picture.save(tmp_path / name, irreversible=False)
    with open_image(tmp_path / name) as image:
        assert (image.read() == np.asarray(picture.convert("L" if "L" in mode else "RGB")).reshape(H, W, -1)).all()
        assert isinstance(image, raster.RasterReader) != plain


def test_a_palette_in_jpeg_2000_gives_colours(tmp_path):
    table = {k: tuple(int(c) for c in np.random.default_rng(k).integers(0, 256, 3)) for k in range(9)}
    indices = np.random.default_rng(1).integers(0, 9, (1, H, W)).astype(np.uint8)
    write(tmp_path / "a.tif", indices, photometric="palette")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.write_colormap(1, table)
    from rasterio import shutil

    shutil.copy(tmp_path / "a.tif", tmp_path / "a.jp2", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    assert (read_rgb(tmp_path / "a.jp2") == np.array([table[k] for k in range(9)], np.uint8)[indices[0]]).all()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_gdal_caches_no_more_than_the_limit(tmp_path):
    """Its own is a twentieth of the machine's memory, and it is asked for at the first pixel."""
    edge = 3072
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=edge, width=edge, count=3, dtype="uint8", compress="deflate",
        tiled=True, blockxsize=512, blockysize=512, photometric="MINISBLACK",
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((3, edge, edge), np.uint8))
    code = (
        "from pathlib import Path; from rrsis_bench.data.pixels import open_image, raster\n"
        "raster._CACHE_MB = 8\n"
        "resident = lambda: 4 * int(Path('/proc/self/statm').read_text().split()[1])\n"
        f"with open_image(Path({str(tmp_path / 'a.tif')!r})) as image:\n"
        "    image.read((0, 0, 512, 512)); before = resident()\n"
        "    for top in range(0, 2560, 512):\n"
        "        for left in range(0, 2560, 512): image.read((top, left, 560, 560))\n"
        "    print(resident() - before)"
    )
    grown = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 15_000, "kB; the whole image has 28,000"


def test_gdal_keeps_what_it_has_decoded(tmp_path):
    """A cache that is too small for a row of tiles decodes each tile once per row: 60 times slower."""
    write(tmp_path / "a.tif", np.ones((4, H, W), np.uint8))
    code = (
        "from pathlib import Path; from rrsis_bench.data.pixels import open_image\n"
        f"with open_image(Path({str(tmp_path / 'a.tif')!r})) as image: image.read()\n"
        "from rasterio.env import get_gdal_config; print(get_gdal_config('GDAL_CACHEMAX'))"
    )
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) == raster._CACHE_MB * 2**20


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_2000_by_depth(bits, tmp_path):
    values = colours().astype(np.uint16 if bits > 8 else np.uint8) * (16 if bits > 8 else 1)
    with rasterio.open(
        tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", height=H, width=W, count=3, dtype=values.dtype, QUALITY=100,
        REVERSIBLE="YES",
    ) as dataset:  # fmt: skip
        dataset.write(values)
    with open_image(tmp_path / "a.jp2", PixelRule.from_config({"stretch": [0, 16 * 255]})) as image:
        assert (image.read() == rgb(colours())).all()


def test_neither_rasterio_nor_torch_is_imported_for_a_plain_file(tmp_path):
    Image.fromarray(rgb(colours())).save(tmp_path / "a.png")
    code = (
        "import sys; from pathlib import Path; from rrsis_bench.data.pixels import read_rgb; "
        f"read_rgb(Path({str(tmp_path / 'a.png')!r})); print([m for m in ('rasterio', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
