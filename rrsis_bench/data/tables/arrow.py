"""Arrow files, as `datasets.Dataset.save_to_disk` writes them: mapped into memory, and read where they lie."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_DAMAGED = "file is damaged, truncated or no arrow file"


def read_table(file: Path) -> Any:
    """An arrow file, of either format, as a table whose columns lie in the file.

    Raises:
        OSError: the file cannot be read, or is no arrow file.
    """
    mapped = pa.memory_map(str(file))
    try:
        return pa.ipc.open_file(mapped).read_all()
    except pa.ArrowInvalid:  # a stream has another head
        mapped.seek(0)
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowException as error:
        raise OSError(None, _DAMAGED) from error


def proven(column: Any) -> Any:
    """A column of bytes, whose places in the file are checked: pyarrow follows wrong ones out of the file.

    Raises:
        OSError: the file is damaged.
    """
    try:
        column.validate(full=True)
    except pa.ArrowException as error:
        raise OSError(None, _DAMAGED) from error
    return column


class ArrowCells:
    """The binary cells of an arrow file."""

    def __init__(self, file: Path) -> None:
        """Map the file. Raises as `read_table`."""
        self._table = read_table(file)
        self._column = cache(self._find)

    def cell(self, column: str, row: int) -> bytes | None:
        """See `stored.Cells`."""
        data: bytes | None = self._column(column)[row].as_py()
        return data

    def _find(self, column: str) -> Any:
        found = self._table.column(column)
        if pa.types.is_struct(found.type):
            for chunk in found.chunks:
                proven(chunk.field("bytes"))
            return pc.struct_field(found, "bytes")
        return proven(found)
