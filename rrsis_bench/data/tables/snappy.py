"""Parts of data that snappy compressed, without what stands before them.

Snappy's own compressor works block by block: no copy reaches back beyond the first byte of its block. Data of other
compressors may differ; `block_starts` checks every copy. The format: github.com/google/snappy, format_description.txt.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

BLOCK = 1 << 16
"""Bytes of a block before compression."""
_MOST_ELEMENTS = 64
"""Elements per block, on average, above which finding the blocks takes longer than it saves."""


def block_starts(data: memoryview, size: int) -> list[int] | None:
    """Where each block begins in compressed data, and where the last one ends.

    Args:
        data: the compressed data.
        size: number of bytes before compression.

    Returns:
        (blocks + 1) positions; None if the blocks depend on each other, or have too many elements.
    """
    at = 0
    while data[at] >= 0x80:  # the size, which the caller knows
        at += 1
    at += 1
    starts, made, left = [at], 0, _MOST_ELEMENTS * (size // BLOCK + 1)
    while at < len(data):
        tag, left = data[at], left - 1
        kind, number = tag & 3, tag >> 2
        if kind == 0:
            more = max(0, number - 59)
            length = 1 + (int.from_bytes(data[at + 1 : at + 1 + more], "little") if more else number)
            at += 1 + more + length
            back = 0
        elif kind == 1:
            length, back = 4 + (number & 7), (tag >> 5) << 8 | data[at + 1]
            at += 2
        else:
            wide = 2 if kind == 2 else 4
            length, back = 1 + number, int.from_bytes(data[at + 1 : at + 1 + wide], "little")
            at += 1 + wide
        if back > made % BLOCK or left < 0:
            return None
        made += length
        end = min(size, BLOCK * len(starts))
        if made > end:
            return None
        if made == end:
            starts.append(at)
    return starts if made == size else None


def read(data: bytes, first: int, last: int, size: int) -> bytes:
    """Decompress the blocks from `first` to before `last`.

    Args:
        data: their compressed bytes.
        first: number of the first block.
        last: number of the block after the last one.
        size: bytes of all blocks of the page before compression.
    """
    length = min(size, last * BLOCK) - first * BLOCK
    whole: bytes = pa.decompress(_number(length) + data, length, "snappy", asbytes=True)
    return whole


def _number(value: int) -> bytes:
    digits: list[int] = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def span(starts: Sequence[int], begin: int, end: int) -> tuple[int, int, int, int]:
    """Numbers of the blocks that hold the bytes from `begin` to before `end`, and where these blocks lie.

    Returns:
        the first block, the block after the last one, and the positions where the blocks begin and end.
    """
    first, last = begin // BLOCK, -(-end // BLOCK)
    return first, last, starts[first], starts[last]
