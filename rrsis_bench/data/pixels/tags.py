"""The tags of a TIFF's first image; the orientation in an EXIF block, which has the same form."""

from __future__ import annotations

import struct
from collections.abc import Collection
from io import BytesIO
from typing import BinaryIO

from rrsis_bench.data.pixels.errors import DAMAGED, ImageError

ORIENTATION = 274
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Field type -> struct code of the integer types; other types are only known to be there."""
_ASCII = 2
_MOST_ENTRIES = 4096
_MOST_VALUES = 1 << 20


def read_tags(stream: BinaryIO, wanted: Collection[int]) -> dict[int, tuple[int, ...] | bytes]:
    """The wanted tags of the first image of a TIFF or BigTIFF.

    Args:
        stream: a TIFF from its first byte on.
        wanted: numbers of the tags to read.

    Returns:
        number -> its integers, or the bytes of a text; an empty tuple for a tag of another type.

    Raises:
        ImageError: no TIFF, or one that is damaged.
    """
    try:
        return _read(stream, wanted)
    except (struct.error, KeyError, OverflowError, OSError) as error:
        raise ImageError(DAMAGED) from error


def orientation_of(exif: bytes) -> int:
    """The orientation an EXIF block asks for, 1 to 8; 1 (as stored) where it asks for none or is damaged."""
    try:
        values = read_tags(BytesIO(exif), (ORIENTATION,)).get(ORIENTATION)
    except ImageError:
        return 1
    return oriented(values)


def oriented(values: tuple[int, ...] | bytes | None) -> int:
    """The value of an orientation tag; 1 where it is absent or none of 1 to 8."""
    known = isinstance(values, tuple) and len(values) == 1 and 1 <= values[0] <= 8
    return values[0] if known and isinstance(values, tuple) else 1


def _read(stream: BinaryIO, wanted: Collection[int]) -> dict[int, tuple[int, ...] | bytes]:
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    big = {42: False, 43: True}[struct.unpack(order + "H", head[2:4])[0]]
    word, entry = ("Q", "HHQ8s") if big else ("I", "HHI4s")
    stream.seek(struct.unpack(order + word, head[8:16] if big else head[4:8])[0])
    counted = "Q" if big else "H"
    (entries,) = struct.unpack(order + counted, stream.read(struct.calcsize(counted)))
    if entries > _MOST_ENTRIES:
        raise KeyError(entries)
    size = struct.calcsize(order + entry)
    table = stream.read(size * entries)
    found: dict[int, tuple[int, ...] | bytes] = {}
    for number, kind, count, field in struct.iter_unpack(order + entry, table):
        if number not in wanted:
            continue
        code = _INTEGERS.get(kind, "s" if kind == _ASCII else None)
        if code is None or count > _MOST_VALUES:
            found[number] = ()
            continue
        length = count * struct.calcsize(code)
        if length > len(field):
            stream.seek(struct.unpack(order + word, field)[0])
            field = stream.read(length)
        if code == "s":
            found[number] = field[:length].rstrip(b"\0")
        else:
            found[number] = struct.unpack(f"{order}{count}{code}", field[:length])
    return found
