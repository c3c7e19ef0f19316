"""Parquet files: one cell at a time where the layout allows it, else its row group."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rrsis_bench.data.tables import snappy
from rrsis_bench.data.tables.pages import Page, UnknownLayoutError, Value, find_values

_KEPT = 4
_WHOLE: OrderedDict[tuple[int, int, int], tuple[ParquetCells, Any]] = OrderedDict()
"""The last columns of row groups that could only be read whole, of all files together: a copy may have hundreds."""
_WHOLE_LOCK = Lock()
_DAMAGED = "file is damaged, truncated or no parquet file"


@dataclass(frozen=True)
class _Group:
    """A column in one row group.

    Attributes:
        pages: its pages.
        values: the place of each row's value; None for null.
        blocks: for each page, where its blocks begin in its content; None if the page is not compressed.
    """

    pages: list[Page]
    values: list[Value | None]
    blocks: list[list[int] | None]


class ParquetCells:
    """The binary cells of a parquet file."""

    def __init__(self, file: Path) -> None:
        """Read the file's metadata.

        Raises:
            OSError: the file cannot be read, or is no parquet file.
        """
        self._file = file
        try:
            with pq.ParquetFile(file) as opened:
                self._metadata, self._schema = opened.metadata, opened.schema
        except (OSError, pa.ArrowException) as error:
            raise _disk_error(error) from error
        self._names = [self._schema.column(at).path for at in range(len(self._schema))]
        sizes = (self._metadata.row_group(at).num_rows for at in range(self._metadata.num_row_groups))
        self._ends = list(accumulate(sizes))
        with file.open("rb") as stream:
            self._content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._lock = Lock()
        self._groups: dict[tuple[int, int], _Group | None] = {}

    def cell(self, column: str, row: int) -> bytes | None:
        """See `stored.Cells`."""
        index = self._index(column)
        if not 0 <= row < self._metadata.num_rows:
            raise IndexError(row)
        group = bisect_right(self._ends, row)
        place = row - (self._ends[group - 1] if group else 0)
        with self._lock:
            known = self._group(group, index)
        try:
            if known is None:
                return self._from_whole(group, index, place)
            value = known.values[place]
            return None if value is None else self._read_value(known, value)
        except (OSError, pa.ArrowException, OverflowError) as error:
            raise _disk_error(error) from error

    def one_by_one(self, column: str) -> bool:
        """Whether cells of the first row group are read alone. If not, each takes the time of its whole row group."""
        with self._lock:
            return self._metadata.num_row_groups == 0 or self._group(0, self._index(column)) is not None

    def _index(self, column: str) -> int:
        for name in (f"{column}.bytes", column):
            if name in self._names:
                return self._names.index(name)
        raise KeyError(column)

    def _group(self, group: int, index: int) -> _Group | None:
        if (group, index) not in self._groups:
            try:
                self._groups[group, index] = self._find(group, index)
            except Exception:  # another layout, or damage of any kind: pyarrow is to say what is wrong with the file
                self._groups[group, index] = None
        return self._groups[group, index]

    def _find(self, group: int, index: int) -> _Group:
        chunk, column = self._metadata.row_group(group).column(index), self._schema.column(index)
        codec = chunk.compression
        if (
            codec not in {"UNCOMPRESSED", "SNAPPY"}
            or column.max_repetition_level
            or chunk.physical_type != "BYTE_ARRAY"
        ):
            raise UnknownLayoutError
        packed = codec == "SNAPPY"
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset

        def decompress(content: bytes, size: int) -> bytes:
            if size > chunk.total_uncompressed_size:
                raise UnknownLayoutError
            return pa.decompress(content, size, "snappy", asbytes=True) if packed else content  # type: ignore[no-any-return]

        rows, stop = self._metadata.row_group(group).num_rows, start + chunk.total_compressed_size
        pages, values = find_values(self._read, decompress, start, stop, column.max_definition_level, rows)
        if len(values) != rows:
            raise UnknownLayoutError
        blocks: list[list[int] | None] = []
        for page in pages:
            starts = snappy.block_starts(memoryview(self._read(page.start, page.stored)), page.size) if packed else None
            if packed and starts is None:
                raise UnknownLayoutError
            blocks.append(starts)
        return _Group(pages, values, blocks)

    def _read(self, start: int, length: int) -> bytes:
        return self._content[start : start + length]

    def _read_value(self, group: _Group, value: Value) -> bytes:
        number, begin, end = value
        page, starts = group.pages[number], group.blocks[number]
        if starts is None or begin == end:
            return self._read(page.start + begin, end - begin)
        first, last, low, high = snappy.span(starts, begin, end)
        content = snappy.read(self._read(page.start + low, high - low), first, last, page.size)
        return content[begin - first * snappy.BLOCK : end - first * snappy.BLOCK]

    def _from_whole(self, group: int, index: int, place: int) -> bytes | None:
        key = (id(self), group, index)  # the entry keeps the object, and so its id
        with _WHOLE_LOCK:
            if key not in _WHOLE:
                while len(_WHOLE) >= _KEPT:
                    _WHOLE.popitem(last=False)
                with pq.ParquetFile(self._file) as opened:
                    table = opened.read_row_group(group, [self._names[index]], use_threads=False)
                column = table.column(0)
                _WHOLE[key] = (self, column.flatten()[0] if pa.types.is_struct(column.type) else column)
            _WHOLE.move_to_end(key)
            data: bytes | None = _WHOLE[key][1][place].as_py()
            return data


def _disk_error(error: Exception) -> OSError:
    """The system's reason, or damage: pyarrow raises both, in several lines."""
    return OSError(getattr(error, "errno", None), getattr(error, "strerror", None) or _DAMAGED)
