"""Atomic writes: a file appears complete or not at all.

Each function writes a temporary file in the same folder, syncs it to the disk, renames it, and syncs the folder. Every
file that this project writes for a user goes through here. A process that is killed leaves at most a temporary file,
`.<name>.<8 hex digits>.tmp`. The next writer of that name removes the temporary file once it is an hour old.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from rrsis_bench.errors import UsageError, UserError

_ELSEWHERE = "write elsewhere (--out, --data.cache, RRSIS_RUNS, RRSIS_CACHE, RRSIS_DATA)"
_REMEDIES = {
    errno.ENOSPC: f"The disk is full: free some space, or {_ELSEWHERE}.",
    errno.EDQUOT: f"Your disk quota is used up: free some space, or {_ELSEWHERE}.",
    errno.EACCES: f"Permission is denied: {_ELSEWHERE}, or change the folder's permissions.",
    errno.EROFS: f"The file system is read-only: {_ELSEWHERE}.",
}
_WRONG_PLACE = {
    errno.ENOTDIR: "A file is where a folder must be",
    errno.EEXIST: "A file is where a folder must be",
    errno.EISDIR: "A folder is where the file must be",
    errno.ENAMETOOLONG: "The name is too long",
}
_RANDOM = len("01234567.tmp")
_LEFT_SECONDS = 3600
"""Age of a temporary file, in seconds, after which its writer counts as gone."""


@contextmanager
def atomic(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a stream whose content becomes the file when the block ends. If the block raises, an earlier file stays.

    The file's folder is created if it does not exist. Permissions are those of any new file: 0666 less the umask.

    Args:
        path: the file.

    Raises:
        UserError: the file cannot be written (disk full, no permission); the message names the file and the remedy. A
            library in the block may hide the disk's error or raise another one; this function still raises UserError.
    """
    path = Path(path)
    with ExitStack() as cleaning:
        try:
            staged = _Staged(path, cleaning)
        except OSError as error:
            raise refused(path, error) from error
        try:
            yield staged.stream
        except Exception as error:
            if staged.refusal is not None:
                raise refused(path, staged.refusal) from error
            raise
        try:
            staged.settle()
            staged.move()
        except OSError as error:
            raise refused(path, error) from error
        cleaning.pop_all()
    staged.sync()


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically. Raises what `atomic` raises."""
    with atomic(path) as stream:
        stream.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically and keep its line ends. Raises what `atomic` raises."""
    write_bytes(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """A value as this project writes JSON: sorted keys, two blanks of indentation, no NaN, newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as JSON atomically. Raises what `atomic` raises."""
    write_text(path, json_text(value))


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write several files that belong together: all temporary files are on the disk before the first one is renamed.

    The files are renamed in the given order. A process that is killed between two renames leaves the first files new
    and the others old. The file that proves the others complete must come last.

    Args:
        files: content by path; text is written as UTF-8.

    Raises:
        UserError: a file cannot be written. The message says that none of the files was changed, or which are new.
    """
    names = [path.name for path in files]
    unchanged = f"None of {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''} was changed."
    with ExitStack() as cleaning:
        staged: list[_Staged] = []
        for path, content in files.items():
            try:
                one = _Staged(path, cleaning)
                one.stream.write(content.encode("utf-8") if isinstance(content, str) else content)
                one.settle()
            except OSError as error:
                raise refused(path, error, unchanged) from error
            staged.append(one)
        for k, one in enumerate(staged):
            try:
                one.move()
            except OSError as error:
                new, old = (", ".join(other.path.name for other in part) for part in (staged[:k], staged[k:]))
                state = f"New are: {new}; unchanged: {old}. Run the command again." if k else unchanged
                raise refused(one.path, error, state) from error
        cleaning.pop_all()
    for one in staged:
        one.sync()


def prove_writable(*paths: Path) -> None:
    """Check that files can be written, before the work whose outcome they are to hold. Leaves nothing behind.

    Args:
        paths: the files; they and their folders need not exist.

    Raises:
        UserError: a file cannot be written; the message names it and the remedy.
    """
    for path in paths:
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            # No folder is made and removed: another process may be about to write into it.
            there = next(folder for folder in path.absolute().parents if folder.exists())
            probe = _beside(there / path.name)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise refused(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        UserError: the folder cannot be made; the message names the folder and the remedy.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(path, error, "") from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a new folder that becomes `path` when the block ends. If the block raises, the new folder is removed.

    The folder's files are not synced to the disk: use this function for files that can be made again.

    Args:
        path: the folder; it must not exist, or be empty.

    Raises:
        UserError: a file of the block cannot be written, or the folder cannot be renamed; the message names the folder
            and the remedy.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building = _beside(path)
        building.mkdir()
    except OSError as error:
        raise refused(path, error, "") from error
    try:
        yield building
        os.replace(building, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise refused(path, error, "") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def refused(path: Path, error: OSError, state: str | None = None) -> UserError:
    """The error of a file or folder that cannot be written.

    Args:
        path: the file or folder.
        error: the system's reason.
        state: what has become of the earlier file; None to look.
    """
    if state is None:
        state = f"The earlier {path.name} is unchanged." if os.path.lexists(path) else ""
    if error.errno in _WRONG_PLACE:
        return UsageError(f"cannot write {path}: {_WRONG_PLACE[error.errno]}; {_ELSEWHERE}. {state}".rstrip())
    remedy = _REMEDIES.get(error.errno or 0, f"Check the folder, or {_ELSEWHERE}.")
    return UserError(f"cannot write {path}: {error.strerror or error}. {remedy} {state}".rstrip())


class _Watched(io.FileIO):
    """A file that keeps the disk's error, since a library that writes to the file may hide the error."""

    refusal: OSError | None = None

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            self.refusal = error
            raise


class _Staged:
    """A temporary file that is to replace a file.

    Args:
        path: the file to replace.
        cleaning: receives callbacks that remove the temporary file and new folders if a step before `move` fails.

    Raises:
        OSError: the folder or the temporary file cannot be created.
    """

    def __init__(self, path: Path, cleaning: ExitStack) -> None:
        self.path = path
        self._made: list[Path] = []
        cleaning.callback(self._remove_folders)
        for folder in (path.parent, *path.parent.parents):
            if folder.exists():
                break
            self._made.append(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = _beside(path)
        # `tempfile` would make a private file, and only `os.umask`, which acts on all threads, reads the umask.
        # A file opened here gets the permissions that the system gives to any new file.
        self._raw = _Watched(self._temporary, "x")
        self.stream = io.BufferedWriter(self._raw)
        cleaning.callback(self._discard)

    @property
    def refusal(self) -> OSError | None:
        """The error that the disk gave, or None."""
        return self._raw.refusal

    def settle(self) -> None:
        """Sync the content to the disk."""
        self.stream.flush()
        if self.refusal is not None:
            raise self.refusal
        os.fsync(self._raw.fileno())
        self.stream.close()

    def move(self) -> None:
        """Replace the file by the temporary one."""
        self._sweep()
        os.replace(self._temporary, self.path)

    def sync(self) -> None:
        """Sync the folders, so that the rename and new folders survive a loss of power."""
        for folder in (self.path.parent, *(made.parent for made in self._made)):
            _sync_folder(folder)

    def _sweep(self) -> None:
        """Remove old temporary files of this file; their age is measured by the file system's clock."""
        name = re.compile(re.escape(self._temporary.name[:-_RANDOM]) + r"[0-9a-f]{8}\.tmp")
        now = self._temporary.stat().st_mtime
        with contextlib.suppress(OSError), os.scandir(self.path.parent) as entries:
            for entry in entries:
                if name.fullmatch(entry.name) and now - entry.stat().st_mtime > _LEFT_SECONDS:
                    os.unlink(entry.path)

    def _discard(self) -> None:
        for undo in (self.stream.close, self._temporary.unlink):
            with contextlib.suppress(OSError):
                undo()

    def _remove_folders(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):  # another process may use the folder by now
                folder.rmdir()


def _beside(path: Path) -> Path:
    start = path.name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")  # a name may have 255 bytes
    return path.with_name(f".{start}.{secrets.token_hex(4)}.tmp")


def _sync_folder(folder: Path) -> None:
    # Windows and some file systems refuse to sync a folder, and do not need it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def gzipped(text: str) -> bytes:
    """A text as UTF-8 in gzip. The bytes depend on the text alone: the file holds no time and no name."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as stream:
        stream.write(text.encode("utf-8"))
    return buffer.getvalue()


def unpacked(path: Path, largest: int) -> bytes:
    """The content of a gzip file.

    Args:
        path: the file.
        largest: number of bytes above which the content is refused before it fills the memory.

    Raises:
        OSError: the file is missing, damaged, truncated or too large.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # with the header and checksum of gzip
    try:
        content = unpacker.decompress(path.read_bytes(), largest)
    except zlib.error as error:
        raise OSError(str(error)) from error
    if unpacker.unconsumed_tail:
        raise OSError(f"it unpacks to more than {largest:,} bytes, which no table of samples does")
    if not unpacker.eof:
        raise OSError("it is truncated")
    return content
