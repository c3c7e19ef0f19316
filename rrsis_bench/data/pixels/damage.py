"""Damage to a TIFF that its decoders do not report: wrong checksums of deflate, and warnings of libjpeg.

libtiff, and so Pillow and GDAL, stops before it reads the checksum. Other compressions than deflate have none: LZW,
PackBits, ZSTD and plain numbers can be damaged so that they still decode.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def refused_warnings(logger: str) -> Iterator[None]:
    """Refuse what libjpeg merely warns of while a block runs.

    Args:
        logger: the name of the logger that receives the warnings in the thread that decodes.

    Raises:
        ImageError: a warning of corrupt data, once the block has ended.
    """
    log, handler = logging.getLogger(logger), _Warnings()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    if handler.corrupt:
        raise ImageError(DAMAGED)


class _Warnings(logging.Handler):
    """Notices warnings of corrupt JPEG data in the thread that made it.

    Attributes:
        corrupt: whether there was one.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.corrupt = False
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Notice a record."""
        if record.thread == self._thread and "Corrupt JPEG" in record.getMessage():
            self.corrupt = True
