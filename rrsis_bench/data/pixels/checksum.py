"""The checksums of a TIFF compressed by deflate: libtiff, and so Pillow and GDAL, stops before it comes to them."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from rrsis_bench.data.pixels.errors import DAMAGED, ImageError
from rrsis_bench.data.pixels.header import Header

_AT_ONCE = 1 << 20  # bytes


def check_deflate(stream: BinaryIO, header: Header) -> None:
    """Inflate each part of a TIFF to its end, where its checksum stands.

    Args:
        stream: the file.
        header: what `read_header` said of it.

    Raises:
        ImageError: a part is damaged.
    """
    for start, size in header.deflated:
        stream.seek(start)
        if size and not _is_sound(stream.read(size)):
            raise ImageError(DAMAGED)


def _is_sound(data: bytes) -> bool:
    inflater = zlib.decompressobj()
    try:
        while data and not inflater.eof:
            inflater.decompress(data, _AT_ONCE)
            data = inflater.unconsumed_tail
    except zlib.error:
        return False
    return inflater.eof
