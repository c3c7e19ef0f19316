"""Where the values of a column lie in a parquet file: pages, page headers and encodings of the Parquet format.

pyarrow reads whole row groups, and those of image data sets hold a hundred images. Here a value is found, and read
alone. What this file does not know (nested lists, version-2 pages, other encodings) it refuses; pyarrow then reads it.
The format: github.com/apache/parquet-format, README.md, Encodings.md and parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DATA, _DICTIONARY = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_HEAD = 1 << 16  # bytes that a page header has at most: its statistics hold values of up to 4 KiB

Read = Callable[[int, int], bytes]
"""Start and number of bytes -> the file's bytes."""
Value = tuple[int, int, int]
"""Number of the page, and start and end of the value within the page before compression."""


class UnknownLayoutError(Exception):
    """A column that this file cannot read."""


@dataclass(frozen=True)
class Page:
    """A page of values.

    Attributes:
        start: first byte of its content in the file.
        stored: number of bytes of the content in the file.
        size: number of bytes before compression.
    """

    start: int
    stored: int
    size: int


def find_values(
    read: Read, decompress: Callable[[bytes, int], bytes], start: int, stop: int, depth: int, rows: int
) -> tuple[list[Page], list[Value | None]]:
    """Find every value of a column in one row group.

    Args:
        read: reads the file.
        decompress: content and size before compression -> content before compression.
        start: first byte of the row group's column.
        stop: the byte after its last one.
        depth: the column's largest definition level: how many of its fields may be null.
        rows: of the row group.

    Returns:
        the pages, and for each row the place of its value; None for null.

    Raises:
        UnknownLayoutError: the column has another layout.
    """
    pages: list[Page] = []
    entries: list[Value] = []
    values: list[Value | None] = []
    while start < stop:
        header, length = _header(read(start, min(_HEAD, stop - start)))
        page = Page(start + length, header[3], header[2])
        start = page.start + page.stored
        kind = header[1]
        if kind == _DICTIONARY:
            content = decompress(read(page.start, page.stored), page.size)
            entries = _plain(content, 0, header[7][1], len(pages))
            pages.append(page)
        elif kind == _DATA:
            count, encoding = header[5][1], header[5][2]
            if count > rows:
                raise UnknownLayoutError
            content = decompress(read(page.start, page.stored), page.size)
            at, levels = 0, [depth] * count
            if depth:
                if header[5][3] != _RLE:
                    raise UnknownLayoutError
                at = 4 + int.from_bytes(content[:4], "little")
                levels = _hybrid(content[4:at], depth.bit_length(), count)
            present = sum(level == depth for level in levels)
            if encoding == _PLAIN:
                found = iter(_plain(content, at, present, len(pages)))
                pages.append(page)
            elif encoding in {_PLAIN_DICTIONARY, _RLE_DICTIONARY}:
                numbers = _hybrid(content[at + 1 :], content[at], present) if present else []
                found = iter([entries[number] for number in numbers])
            else:
                raise UnknownLayoutError
            values += [next(found) if level == depth else None for level in levels]
        else:
            raise UnknownLayoutError
    return pages, values


def _plain(content: bytes, at: int, count: int, page: int) -> list[Value]:
    """Byte arrays one after another, each behind its length in four bytes. They fill the rest of the page."""
    values: list[Value] = []
    for _ in range(count):
        begin = at + 4
        at = begin + int.from_bytes(content[at:begin], "little")
        values.append((page, begin, at))
    if at != len(content):
        raise UnknownLayoutError
    return values


def _hybrid(data: bytes, width: int, count: int) -> list[int]:
    """Numbers of `width` bits in runs of equal ones and in packed groups of eight (RLE / bit-packing hybrid)."""
    numbers: list[int] = []
    at, wide = 0, -(-width // 8)
    while len(numbers) < count:
        head, at = _varint(data, at)
        if head & 1:
            length = (head >> 1) * width
            packed, room = int.from_bytes(data[at : at + length], "little"), min(8 * (head >> 1), count - len(numbers))
            numbers += [packed >> width * place & (1 << width) - 1 for place in range(room)]
            at += length
        else:
            numbers += [int.from_bytes(data[at : at + wide], "little")] * (head >> 1)
            at += wide
    return numbers[:count]


def _header(data: bytes) -> tuple[dict[int, Any], int]:
    """A page header as field number -> value, and its length in bytes."""
    try:
        header, length = _struct(data, 0)
        if header[1] == _DATA and 5 not in header:
            raise UnknownLayoutError
    except (IndexError, KeyError) as error:
        raise UnknownLayoutError from error
    return header, length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol."""
    fields: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            value, at = _varint(data, at)
            number = value >> 1 ^ -(value & 1)
        fields[number], at = _field(data, at, head & 15)
    return fields, at + 1


def _field(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in {1, 2}:  # true, false
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in {4, 5, 6}:  # integers of 16, 32 and 64 bits
        value, at = _varint(data, at)
        return value >> 1 ^ -(value & 1), at
    if kind == 7:  # double
        return None, at + 8
    if kind == 8:  # binary
        length, at = _varint(data, at)
        return None, at + length
    if kind == 12:
        return _struct(data, at)
    raise UnknownLayoutError  # page headers hold no lists, sets or maps
