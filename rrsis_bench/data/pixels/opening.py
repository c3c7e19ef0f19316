"""Opens an image file: reads its header, refuses files whose colours are unclear, and decodes or opens the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.damage import check_deflate
from rrsis_bench.data.pixels.errors import ImageError, MissingImageError
from rrsis_bench.data.pixels.header import Header, read_header
from rrsis_bench.data.pixels.plain import decode_rgb
from rrsis_bench.data.pixels.raster import RasterReader, deep_note, have_rasterio
from rrsis_bench.data.pixels.reader import DecodedImage, ImageReader, Note, refuse_large
from rrsis_bench.data.pixels.rule import PixelRule, percentiles, spacing
from rrsis_bench.data.tables import open_stored

_AS_STORED = PixelRule()
_AT_ONCE = 1 << 24  # bytes
_LARGE = 1 << 24  # pixels of a TIFF
_MOST_BY_PILLOW = 1 << 26  # pixels; Pillow has a limit of its own, which is larger
_REMEDY = (
    "cut it into tiles, or convert it to a tiled GeoTIFF (gdal_translate -co TILED=YES), which predict reads by parts"
)


def read_rgb(path: Path, rule: PixelRule = _AS_STORED) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB, never turned by an orientation tag.

    8-bit channels are taken as they are stored, without alpha; grey becomes three equal channels, a palette its
    colours. What is deeper is stretched by the rule.

    Args:
        path: the file.
        rule: what was stated of it.

    Raises:
        ImageError: missing, damaged, too large, or the file does not say what its numbers are.
    """
    with open_image(path, rule) as image:
        return image.read()


def open_image(path: Path, rule: PixelRule = _AS_STORED) -> ImageReader:
    """Open an image as the same 8-bit RGB that `read_rgb` gives, to be read whole or by windows.

    Args:
        path: the file.
        rule: what was stated of it.

    Raises:
        ImageError: as `read_rgb`; a TIFF may have any size.
    """
    with opened(path) as (stream, header):
        notes = _notes(header)
        check_deflate(stream, header)
        if decoded_whole(header) and rule.bands is None:
            refuse_large(header.height, header.width, _REMEDY)
            return _decoded(decode_rgb(stream, header), rule, notes)
    return RasterReader(path, header.description or f"choosing bands of a {header.format} file", rule, notes)


def decoded_whole(header: Header) -> bool:
    """Whether a file is decoded without rasterio. A large TIFF is read by windows, though it be plain."""
    most = _LARGE if have_rasterio() else _MOST_BY_PILLOW
    return header.plain and (header.format != "TIFF" or header.pixels <= most)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Header]]:
    """A file, or a cell of a parquet or arrow file, and its header.

    Raises:
        ImageError: missing, damaged, or of no known format.
    """
    try:
        file = open_stored(path)
    except (FileNotFoundError, ValueError) as error:  # ValueError: the name holds a zero byte
        raise MissingImageError from error
    except OSError as error:
        raise ImageError(f"file cannot be read ({error.strerror})") from error
    with file:
        try:
            # One call of the system for a small file; a large one is not read before its size is known.
            small = not isinstance(file, BytesIO) and os.fstat(file.fileno()).st_size <= _AT_ONCE
            stream: BinaryIO = BytesIO(file.read()) if small else file
            yield stream, read_header(stream)
        except OSError as error:
            raise ImageError(f"file cannot be read ({error.strerror})") from error


def _decoded(colours: NDArray[Any], rule: PixelRule, notes: tuple[Note, ...]) -> DecodedImage:
    if colours.dtype == np.uint8:
        return DecodedImage(colours, notes)
    stretch = rule.stretch
    limits = (stretch.low, stretch.high)
    if stretch.of == "percentiles":
        step = spacing(*colours.shape[:2])
        limits = percentiles(stretch, colours[::step, ::step])
    applied = rule.to_config(bands=False)
    return DecodedImage(stretch.apply(colours, limits), (*notes, deep_note(colours.dtype, rule)), applied)


def _notes(header: Header) -> tuple[Note, ...]:
    if header.orientation == 1:
        return ()
    return (
        Note(
            "orientation",
            f"the file asks viewers to turn it (EXIF orientation {header.orientation}); it is read as stored, and a "
            "mask drawn on the turned picture does not fit",
        ),
    )
