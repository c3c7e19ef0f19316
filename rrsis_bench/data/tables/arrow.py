"""Arrow files, as `datasets.Dataset.save_to_disk` writes them: mapped into memory, and read where they lie."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa


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
    except pa.ArrowInvalid as error:
        raise OSError(None, "file is damaged, truncated or no arrow file") from error


class ArrowCells:
    """The binary cells of an arrow file."""

    def __init__(self, file: Path) -> None:
        """Map the file. Raises as `read_table`."""
        self._table = read_table(file)
        self._column = cache(self._find)

    def cell(self, column: str, row: int) -> bytes | None:
        """See `stored.Cells`."""
        value = self._column(column)[row]
        value = value["bytes"] if pa.types.is_struct(value.type) and value.is_valid else value
        data: bytes | None = value.as_py()
        return data

    def _find(self, column: str) -> Any:
        return self._table.column(column)
