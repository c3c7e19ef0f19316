"""Zip and tar archives, unpacked so that nothing is written outside of the folder."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rrsis_bench.errors import MissingResourceError, UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_CLUTTER = "__MACOSX"
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)

_Member = tuple[str, int, Callable[[], IO[bytes] | None]]
"""Name, size in bytes, and what opens it."""


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def is_inside(name: str) -> bool:
    """Whether a relative path, written on any system, stays below the folder that it is relative to."""
    parts = name.replace("\\", "/").split("/")
    return bool(parts[0]) and ".." not in parts and ":" not in parts[0] and "\0" not in name


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive. All its names are checked before the first file is written.

    Args:
        archive: the file.
        folder: where to; files that are there already stay, and a second file of one name is refused.

    Raises:
        UserError: the archive holds a link, a device or an encrypted file, names a file outside of the folder or one
            that is there, or is larger than the disk's free space.
        MissingResourceError: the archive is damaged.
        OSError: the disk refuses a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                _write(archive, list(_of_zip(archive, opened)), folder)
        else:
            with tarfile.open(archive) as packed:
                _write(archive, list(_of_tar(archive, packed)), folder)
    except _DAMAGED as error:
        raise MissingResourceError(
            f"archive {archive.name} cannot be unpacked ({error}). Tell its owner, or name another copy: "
            "--repo OWNER/NAME."
        ) from error


def _of_zip(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for member in opened.infolist():
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            raise _refusal(archive, member.filename, "is a link or encrypted")
        if not member.is_dir():
            yield member.filename, member.file_size, lambda member=member: opened.open(member)  # type: ignore[misc]


def _of_tar(archive: Path, opened: tarfile.TarFile) -> Iterator[_Member]:
    for member in opened:
        if not (member.isfile() or member.isdir()):
            raise _refusal(archive, member.name, "is a link or a device")
        if member.isfile():
            yield member.name, member.size, lambda member=member: opened.extractfile(member)  # type: ignore[misc]


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    wanted = [member for member in members if member[0].split("/")[0] != _CLUTTER]
    targets: set[Path] = set()
    for name, _, _ in wanted:
        target = folder / name.replace("\\", "/")
        if not is_inside(name):
            raise _refusal(archive, name, "lies outside of the archive")
        if target in targets or target.exists():
            raise _refusal(archive, name, "is there twice")
        targets.add(target)
    needed, free = sum(size for _, size, _ in wanted), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"archive {archive.name} unpacks to {needed / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free. Free "
            "some space, or set RRSIS_DATA (or --root) to another disk."
        )
    for name, _, opener in wanted:
        target = folder / name.replace("\\", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = opener()
        if stream is None:
            raise _refusal(archive, name, "cannot be read")
        with stream, target.open("xb") as written:
            shutil.copyfileobj(stream, written)


def _refusal(archive: Path, name: str, what: str) -> UserError:
    return UserError(f"archive {archive.name} is refused: its entry {name!r} {what}. Nothing was unpacked from it.")
