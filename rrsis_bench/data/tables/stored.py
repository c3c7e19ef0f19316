"""Opens a file, or a cell of a parquet or arrow file."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol

from rrsis_bench.errors import MissingResourceError

SUFFIXES = (".parquet", ".arrow")
_OPEN = 256  # files


class Cells(Protocol):
    """The binary cells of an open file."""

    def cell(self, column: str, row: int) -> bytes | None:
        """The bytes of a cell; None if the cell is empty. Raises `KeyError` or `IndexError` if there is none."""


def open_stored(path: Path) -> BinaryIO:
    """Open a file, or a cell of a parquet or arrow file as a stream in memory.

    Args:
        path: a file, or `<file>/<column>/<row>`.

    Raises:
        FileNotFoundError: there is neither; or the cell is empty.
        OSError: the file cannot be read, or is damaged.
    """
    place, row = os.path.split(path)
    file, column = os.path.split(place)
    if not (row.isdecimal() and is_table(file)):
        return path.open("rb")
    try:
        state = os.stat(file)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
    if not S_ISREG(state.st_mode):  # a folder with such a name
        return path.open("rb")
    try:
        data = _open(file, state.st_size, state.st_mtime_ns).cell(column, int(row))
    except (KeyError, IndexError) as error:
        raise FileNotFoundError(path) from error
    if data is None:
        raise FileNotFoundError(path)
    return BytesIO(data)


def reads_alone(file: Path, column: str) -> bool:
    """Whether a cell is read alone. If not, each takes the time of its whole row group.

    Args:
        file: a parquet or arrow file.
        column: a column of bytes that it has.
    """
    if file.suffix == ".arrow":
        return True
    from rrsis_bench.data.tables.parquet import ParquetCells

    return ParquetCells(file).one_by_one(column)


def container(name: str) -> str:
    """The name of the file that holds a cell, or the name itself if it names no cell."""
    file, _, _ = name.rpartition("/")[0].rpartition("/")
    return file if is_table(file) else name


def is_table(name: str) -> bool:
    """Whether a file's name is that of a parquet or arrow file."""
    return name.endswith(SUFFIXES)


def table_files(root: Path) -> list[Path]:
    """The parquet and arrow files below a folder, in order.

    Hidden files and folders do not count, nor `cache-*.arrow`, which the library `datasets` leaves beside its files.
    """
    return sorted(
        path
        for path in root.rglob("*")
        if is_table(path.name)
        and not path.name.startswith("cache-")
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )


def require_pyarrow(what: str) -> None:
    """Check that the extra `parquet` is installed.

    Args:
        what: the file that needs it, for the message.

    Raises:
        MissingResourceError: the extra is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingResourceError(f"{what} needs pyarrow: pip install 'rrsis-bench[parquet]'.")


@lru_cache(_OPEN)
def _open(file: str, size: int, changed: int) -> Cells:
    """The file in one state: a file that was replaced is opened again."""
    require_pyarrow(file)
    if file.endswith(".arrow"):
        from rrsis_bench.data.tables.arrow import ArrowCells

        return ArrowCells(Path(file))
    from rrsis_bench.data.tables.parquet import ParquetCells

    return ParquetCells(Path(file))
