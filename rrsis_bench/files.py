"""Files that are there wholly or not at all: temporary file in the same folder, fsync, rename, fsync of the folder.

Every file that this project writes for a user goes through here. A process that is killed leaves at most a temporary
file, `.<name>.<8 hex digits>.tmp`; the next writer of that name removes it once it is an hour old.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from rrsis_bench.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or write elsewhere (RRSIS_RUNS, --out).",
    errno.EDQUOT: "Your disk quota is used up: free some space, or write elsewhere (RRSIS_RUNS, --out).",
    errno.EACCES: "Permission is denied: write elsewhere (RRSIS_RUNS, --out), or change the folder's permissions.",
    errno.EROFS: "The file system is read-only: write elsewhere (RRSIS_RUNS, --out).",
}
_RANDOM = len("01234567.tmp")
_LEFT_SECONDS = 3600
"""Age of a temporary file after which nobody is writing it any more."""


@contextmanager
def atomic(path: Path | str) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file when the block ends; if the block raises, an earlier file stays.

    The file's folder is made if need be. Permissions are those of any new file: 0666 less the umask.

    Args:
        path: the file.

    Raises:
        UserError: the file cannot be written (disk full, no permission), even where a library that wrote to the stream
            reported that in its own words, or not at all; names the file and the remedy. Whatever else the block
            raises passes through.
    """
    path = Path(path)
    with ExitStack() as cleaning:
        try:
            staged = _Staged(path, cleaning)
        except OSError as error:
            raise _refused(path, error) from error
        try:
            yield staged.stream
        except Exception as error:
            if staged.refusal is not None:
                raise _refused(path, staged.refusal) from error
            raise
        try:
            staged.settle()
            staged.move()
        except OSError as error:
            raise _refused(path, error) from error
        cleaning.pop_all()
    staged.sync()


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically. Raises as `atomic`."""
    with atomic(path) as stream:
        stream.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically, with the line ends as given. Raises as `atomic`."""
    write_bytes(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """The one way this project writes JSON: sorted keys, two blanks, UTF-8, no NaN, newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as JSON atomically. Raises as `atomic`."""
    write_text(path, json_text(value))


def write_together(files: Mapping[Path, bytes | str]) -> None:
    """Write several files that belong together: all are on the disk before the first takes its place.

    They take their places in the order given. A process that is killed in between leaves the first ones new and the
    others as they were; so the file that says that all are there comes last.

    Args:
        files: content by path; text is written as UTF-8.

    Raises:
        UserError: a file cannot be written; says whether nothing was changed, or else which files are new.
    """
    with ExitStack() as cleaning:
        staged: list[_Staged] = []
        for path, content in files.items():
            try:
                one = _Staged(path, cleaning)
                one.stream.write(content.encode("utf-8") if isinstance(content, str) else content)
                one.settle()
            except OSError as error:
                raise _refused(path, error, "Nothing was changed.") from error
            staged.append(one)
        for k, one in enumerate(staged):
            try:
                one.move()
            except OSError as error:
                new, old = (", ".join(other.path.name for other in part) for part in (staged[:k], staged[k:]))
                state = f"New are: {new}; unchanged: {old}. Run the command again." if k else "Nothing was changed."
                raise _refused(one.path, error, state) from error
        cleaning.pop_all()
    for one in staged:
        one.sync()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder that becomes `path` when the block ends; if the block raises, it is removed.

    Its files are not brought to the disk one by one: for what can be made again after a loss of power.

    Args:
        path: the folder; may not be there, or be empty.

    Raises:
        UserError: the disk refuses a file of the block or the move; names the folder and the remedy.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building = _beside(path)
        building.mkdir()
    except OSError as error:
        raise _refused(path, error, "") from error
    try:
        yield building
        os.replace(building, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refused(path, error, "") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _refused(path: Path, error: OSError, state: str | None = None) -> UserError:
    if state is None:
        state = f"The earlier {path.name} is unchanged." if os.path.lexists(path) else ""
    remedy = _REMEDIES.get(error.errno or 0, "Check the folder, or write elsewhere (RRSIS_RUNS, --out).")
    return UserError(f"cannot write {path}: {error.strerror or error}. {remedy} {state}".rstrip())


class _Watched(io.FileIO):
    """A file that remembers what the disk refused: a library that writes to it may hide that in an error of its own."""

    refusal: OSError | None = None

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            self.refusal = error
            raise


class _Staged:
    """A file that is being written beside the place it is to take.

    Args:
        path: that place.
        cleaning: receives what is to be undone should anything fail before `move`: temporary file and new folders.

    Raises:
        OSError: folder or temporary file cannot be made.
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
        # Not by `tempfile`, whose files are private: the umask then had to be read, which only setting it can, for all
        # threads at once. The system itself applies it to a new file.
        self._raw = _Watched(self._temporary, "x")
        self.stream = io.BufferedWriter(self._raw)
        cleaning.callback(self._discard)

    @property
    def refusal(self) -> OSError | None:
        """What the disk refused so far."""
        return self._raw.refusal

    def settle(self) -> None:
        """Bring the content to the disk."""
        self.stream.flush()
        if self.refusal is not None:
            raise self.refusal
        os.fsync(self._raw.fileno())
        self.stream.close()

    def move(self) -> None:
        """Take the place."""
        self._sweep()
        os.replace(self._temporary, self.path)

    def sync(self) -> None:
        """Make the move itself durable, and with it the new folders."""
        for folder in (self.path.parent, *(made.parent for made in self._made)):
            _sync_folder(folder)

    def _sweep(self) -> None:
        """Remove what killed writers of this file left behind; the file system's own clock tells their age."""
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
            with contextlib.suppress(OSError):  # others may use it by now
                folder.rmdir()


def _beside(path: Path) -> Path:
    start = path.name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")  # a name may have 255 bytes
    return path.with_name(f".{start}.{secrets.token_hex(4)}.tmp")


def _sync_folder(folder: Path) -> None:
    # Some file systems and Windows cannot, and need not.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
