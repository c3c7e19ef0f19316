"""The state of a data set's files: one scan of sizes and times, and a hash of what changed since the last. No torch.

A record in the cache keeps each file's size, times and sha256. If no size or time differs, the identity is read from
the record's first line. Otherwise the files that differ are hashed again; a file that was only touched changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.files import write_bytes

Stamp = tuple[int, int, int]
"""Size in bytes, and the times in ns when the content and the entry last changed. Unpacking may set the former back."""

_FORMAT = 1
_ABSENT: Stamp = (-1, 0, 0)
_UNSETTLED: Stamp = (-2, 0, 0)
_SETTLED_NS = 2_000_000_000
"""A file changed this shortly before the scan may change again without another time: file systems round times."""
_UNREADABLE = "unreadable: "
_CLUTTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})


@dataclass(frozen=True)
class FileState:
    """Where a data set's files are, and where their hashes are kept.

    Attributes:
        record: the file in the cache that keeps sizes, times and hashes.
        root: data root; the paths of files below it are relative to it.
        places: the files and folders that a source reads. A folder stands for every file below it but hidden ones.
    """

    record: Path
    root: Path
    places: tuple[Path, ...]

    def identity(self) -> str:
        """The sha256 over path and content of every file.

        Raises:
            MissingResourceError: a folder cannot be listed.
        """
        found = scan(self.root, self.places)
        try:
            with self.record.open(encoding="ascii") as stream:
                kept = json.loads(stream.readline())
            if kept["format"] == _FORMAT and kept["stamps"] == _digest(found):
                return str(kept["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no record yet, or a damaged one, which is written anew
        return identity_of(self.contents())

    def contents(self, afresh: bool = False) -> dict[str, str]:
        """Path -> sha256 of every file, of which only those with another size or time than recorded are read.

        Args:
            afresh: read all files, whatever the record says.

        Raises:
            MissingResourceError: a folder cannot be listed.
        """
        started = time.time_ns()
        found = scan(self.root, self.places)
        kept = self.kept()
        known = {} if afresh else kept
        changed = [path for path, stamp in found.items() if known.get(path, (_UNSETTLED, ""))[0] != stamp]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            hashed = dict(zip(changed, pool.map(lambda path: _sha256(self.root / path), changed), strict=True))
        contents = {path: hashed[path] if path in hashed else known[path][1] for path in found}
        settled = {
            path: stamp if _is_settled(stamp, started, contents[path]) else _UNSETTLED for path, stamp in found.items()
        }
        rows = {path: (stamp, contents[path]) for path, stamp in settled.items()}
        if rows != kept:
            head = {"format": _FORMAT, "stamps": _digest(settled), "identity": identity_of(contents)}
            lines = f"{json.dumps(head)}\n{json.dumps(rows, separators=(',', ':'))}\n"
            with contextlib.suppress(UserError):  # a cache that cannot be written only costs the time again
                write_bytes(self.record, lines.encode("ascii"))
        return contents

    def kept(self) -> dict[str, tuple[Stamp, str]]:
        """Path -> size, times and sha256 as recorded; empty without a record."""
        try:
            with self.record.open(encoding="ascii") as stream:
                if json.loads(stream.readline())["format"] != _FORMAT:
                    return {}
                rows = json.loads(stream.read())
            return {path: ((stamp[0], stamp[1], stamp[2]), str(sha256)) for path, (stamp, sha256) in rows.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return {}


class Contents:
    """What single files hold, by sha256: a file is read again only if its size or times differ from those known.

    Args:
        root: data root.
        known: path below the root -> size, times and sha256, as `FileState.kept` returns them.
    """

    def __init__(self, root: Path, known: Mapping[str, tuple[Stamp, str]]) -> None:
        self._root = root
        self._known = dict(known)

    def sha256(self, name: str) -> str | None:
        """The sha256 of a file as it is now.

        Returns:
            empty if there is no file; None if the file cannot be read, or changes while it is read.
        """
        path = os.path.join(self._root, name)
        started = time.time_ns()
        stamp = _stamp(path)
        if stamp == _ABSENT:
            return ""
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        content = _sha256(Path(path))
        if content.startswith(_UNREADABLE) or _stamp(path) != stamp:
            return None
        if _is_settled(stamp, started, content):
            self._known[name] = (stamp, content)
        return content


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: the name holds a zero byte
        return _ABSENT
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def identity_of(contents: Mapping[str, str]) -> str:
    """The sha256 over the sorted paths and hashes of files."""
    lines = (f"{path}\0{contents[path]}\n" for path in sorted(contents))
    return hashlib.sha256(_bytes("".join(lines))).hexdigest()


def scan(root: Path, places: Iterable[Path]) -> dict[str, Stamp]:
    """Path -> size and times of every file, without opening one. Links are followed.

    Args:
        root: data root; the paths of files below it are relative to it, with forward slashes.
        places: files and folders. What is neither has the stamp of a missing file.

    Raises:
        MissingResourceError: a folder cannot be listed.
    """
    given, top = os.path.join(root, ""), os.path.join(os.path.abspath(root), "")
    found: dict[str, Stamp] = {}
    for place in places:
        path = os.fspath(place)
        if not path.startswith(given):
            path = os.path.abspath(path)
        name = path.removeprefix(given).removeprefix(top).replace(os.sep, "/")
        try:
            status = os.stat(path)
        except OSError:
            found[name] = _ABSENT
            continue
        if S_ISDIR(status.st_mode):
            prefix = "" if os.path.join(path, "") in (given, top) else f"{name}/"
            found.update(_folder(path, prefix, ((status.st_dev, status.st_ino),)))
        elif S_ISREG(status.st_mode):
            found[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        else:
            found[name] = _ABSENT  # a pipe or a device: no file
    return found


def _folder(path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Stamp]]:
    """Files of a folder and its subfolders. `above` is device and inode of each folder on the way: links may loop."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if _is_clutter(entry.name):
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    yield prefix + entry.name, _ABSENT
                    continue
                if S_ISREG(status.st_mode):
                    yield prefix + entry.name, (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                elif S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in above:
                    inner = (*above, (status.st_dev, status.st_ino))
                    yield from _folder(entry.path, f"{prefix}{entry.name}/", inner)
    except OSError as error:
        message = f"folder {path} cannot be listed ({error.strerror}); check its permissions."
        raise MissingResourceError(message) from error


def _is_settled(stamp: Stamp, scanned: int, content: str) -> bool:
    """Whether an equal stamp means an equal file from now on. What could not be read is tried again each time."""
    if stamp == _ABSENT:
        return True
    recent = any(abs(scanned - when) < _SETTLED_NS for when in stamp[1:])
    return not recent and not content.startswith(_UNREADABLE)


def _is_clutter(name: str) -> bool:
    """Whether a file browser or a file system left it. A hidden image may be one that a listing names: it counts."""
    if name[0] == ".":
        return os.path.splitext(name)[1].lower() not in _IMAGES
    return name[0] in "tedTED" and name.lower() in _CLUTTER


def _digest(stamps: Mapping[str, Stamp]) -> str:
    paths = sorted(stamps)
    numbers = array("q", chain.from_iterable(stamps[path] for path in paths))  # ten times faster than as text
    return hashlib.sha256(_bytes("\0".join(paths)) + numbers.tobytes()).hexdigest()


def _bytes(names: str) -> bytes:
    return names.encode("utf-8", "surrogatepass")  # a name that is not UTF-8 comes as lone surrogates


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"{_UNREADABLE}{error.strerror}"
