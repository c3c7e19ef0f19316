"""Read the plain data of a pickle from an unknown hand; refuse everything that could run code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn


class UnsafePickleError(ValueError):
    """A pickle that is damaged, or holds more than plain data."""


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles lists, dicts, tuples, strings, bytes and numbers, and by name only a few containers."""

    def find_class(self, module: str, name: str) -> Any:
        if module in {"builtins", "__builtin__"} and name in _BUILTINS:
            return _BUILTINS[name]
        if (module, name) in {("_codecs", "encode"), ("codecs", "encode")}:
            return _encode  # how protocol 2 stores bytes
        raise UnsafePickleError(f"it asks to import {module}.{name}, which plain data never needs")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise UnsafePickleError("it refers to objects outside itself")


def _encode(text: str, encoding: str = "latin-1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise UnsafePickleError("it encodes bytes in an unusual way")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""  # protocol 2 stores the empty bytes object as `bytes()`


_BUILTINS = {"set": set, "frozenset": frozenset, "complex": complex, "bytes": _no_bytes}


def load_plain(path: Path) -> Any:
    """The plain data of a pickle file.

    Args:
        path: the file.

    Raises:
        UnsafePickleError: damaged, or holding anything but builtin containers, strings and numbers.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        # Python 2 stored strings as bytes; what is no UTF-8 becomes U+FFFD, which the sources report.
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except UnsafePickleError:
        raise
    except Exception as error:
        # A damaged pickle may raise nearly anything; all of it means the same to a user.
        raise UnsafePickleError(f"it is damaged ({type(error).__name__}: {error})") from error
