"""Files that are there wholly or not at all: temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rrsis_bench.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or write elsewhere (RRSIS_RUNS, --out).",
    errno.EDQUOT: "Your disk quota is used up: free some space, or write elsewhere (RRSIS_RUNS, --out).",
    errno.EACCES: "Permission is denied: write elsewhere (RRSIS_RUNS, --out), or change the folder's permissions.",
    errno.EROFS: "The file system is read-only: write elsewhere (RRSIS_RUNS, --out).",
}


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically; its folder is made if need be. Whatever fails, an earlier file stays as it was.

    Raises:
        UserError: the file cannot be written (disk full, no permission); names the file and the remedy.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the folder, or write elsewhere (RRSIS_RUNS, --out).")
        raise UserError(f"cannot write {path}: {error.strerror or error}. {remedy} Nothing was changed.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically, with the line ends as given. Raises as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """The one way this project writes JSON: sorted keys, two blanks, UTF-8, no NaN, newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as JSON atomically. Raises as `write_bytes`."""
    write_text(path, json_text(value))


def _umask() -> int:
    # A temporary file is private by default; the mask that ordinary files obey can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable; some file systems and Windows cannot, and need not.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
