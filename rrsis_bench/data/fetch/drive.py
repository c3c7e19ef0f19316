"""A data set in a folder of Google Drive, fetched by `gdown` if the user installed it (extra `drive`).

Drive states neither sizes nor digests of a folder's files, and has no revisions. The record of what was fetched takes a
hash over the names and contents of all files for a revision.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from rrsis_bench.data.fetch import into as fetching
from rrsis_bench.data.fetch import origin
from rrsis_bench.data.fetch.archives import SUFFIXES, is_archive, unpack
from rrsis_bench.data.fetch.hub import DISK, KEPT
from rrsis_bench.data.fetch.origin import Origin
from rrsis_bench.data.sources.base import Source
from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.files import make_folder, refused
from rrsis_bench.nn.weights.refs import MissingDownloadError, reason

_MARK = "drive"
"""File beside the fetched ones that names the folder they are of."""


def client() -> ModuleType | None:
    """The package `gdown`; None if it is not installed."""
    try:
        import gdown  # type: ignore[import-not-found]
    except ImportError:
        return None
    found: ModuleType = gdown
    return found


def is_fetched(address: str, root: Path) -> bool:
    """Whether a folder holds what was fetched from an address.

    Raises:
        UserError: it holds something else that was fetched.
    """
    held = origin.read(root)
    if held is not None and held.repository != address:
        raise UserError(
            f"{root} holds {held}, and this is {address}. Nothing is overwritten: move the folder away to fetch it."
        )
    return held is not None


def into(gdown: Any, address: str, root: Path, source: Source) -> Origin:
    """Fetch, unpack, bring files to their places, and move all into the data set's folder.

    Args:
        gdown: the package.
        address: of the Drive folder.
        root: the data set's folder; it must be missing or empty.
        source: what will read it; `info.drive_holds` are the places of its files.

    Raises:
        UserError: the disk is full, another process fetches the same, or an archive is refused.
        MissingResourceError: Drive refuses the folder or a file, or an archive is damaged.
    """
    root = root.resolve()
    staging = fetching.staging_of(root)
    make_folder(staging)
    with fetching.alone(staging):
        fetching.refuse_users_files(root)
        if is_fetched(address, root) and (held := origin.read(root)) is not None:  # meanwhile, by another process
            shutil.rmtree(staging, ignore_errors=True)
            return held
        try:
            _only_of(address, staging)
            files = _download(gdown, address, staging / "files")
            digests = {name: _digest(path) for name, path in files.items()}
            made = staging / "content"
            shutil.rmtree(made, ignore_errors=True)
            _lay_out(files, made, source.info.drive_holds)
            named = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
            revision = sha256(named.encode("utf-8", "surrogatepass")).hexdigest()
            record = Origin(address, revision, "", digests, fetching.identity_of(made, staging, source))
            fetching.settle(made, root, record)
        except OSError as error:
            raise refused(root, error, KEPT) from error
        shutil.rmtree(staging, ignore_errors=True)
    return record


def _only_of(address: str, staging: Path) -> None:
    """Remove what a call for something else left beside the folder."""
    mark = staging / _MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8") != address:
        for name in ("files", "parts", "content"):
            shutil.rmtree(staging / name, ignore_errors=True)
        mark.write_text(address, encoding="utf-8")


def _download(gdown: Any, address: str, folder: Path) -> dict[str, Path]:
    """Fetch a Drive folder with `gdown`, which skips files that are there and continues parts of files.

    Returns:
        path in the Drive folder -> file.
    """
    try:
        paths = gdown.download_folder(
            url=address, output=str(folder), quiet=not sys.stderr.isatty(), use_cookies=False, resume=True
        )
    except TypeError as error:
        known = getattr(gdown, "__version__", "?")
        raise MissingResourceError(
            f"gdown {known} does not know the arguments of gdown 5 ({error}). Run: pip install 'gdown>=5.2'"
        ) from error
    except Exception as error:  # gdown raises its own, requests' and OS errors
        if isinstance(error, OSError) and error.errno in DISK:
            raise refused(folder, error, KEPT) from error
        raise MissingDownloadError(f"{address} cannot be fetched by gdown ({reason(error)}). {KEPT}") from error
    if not paths:  # gdown 5 returns None where it fails
        raise MissingDownloadError(f"{address} cannot be fetched by gdown (it fetched no file). {KEPT}")
    found = {Path(path).relative_to(folder).as_posix(): Path(path) for path in paths}
    lacking = [name for name, path in found.items() if not path.is_file() or _is_page(path)]
    for name in lacking:
        found[name].unlink(missing_ok=True)
    if lacking:
        raise MissingDownloadError(f"'{lacking[0]}' of {address} arrived as a web page, or not at all. {KEPT}")
    return found


def _is_page(path: Path) -> bool:
    """Whether a file is the page that Drive sends in place of a file that it refuses."""
    with path.open("rb") as stream:
        start = stream.read(512)
    return re.match(rb"\s*<(!doctype html|html)", start, flags=re.IGNORECASE) is not None and path.suffix != ".html"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _lay_out(files: dict[str, Path], content: Path, places: Sequence[str]) -> None:
    """Copy files and unpack archives into a folder, each archive where it lies, and bring them to their places."""
    for name, path in files.items():
        target = content / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_archive(name):
            suffix = next(one for one in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(one))
            unpack(path, target.with_name(target.name[: -len(suffix)]))
        else:
            shutil.copyfile(path, target)
    for place in places:
        if (content / place).exists():
            continue
        found = [path for path in content.rglob(Path(place).name) if path.relative_to(content).as_posix() not in places]
        # An archive `X.zip` that holds a folder `X` makes a folder in one of the same name: the inner one is meant.
        inner = [path for path in found if not any(other != path and other.is_relative_to(path) for other in found)]
        if len(inner) == 1:
            target = content / place
            staged = content / f".{target.name}.moved"
            os.replace(inner[0], staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, target)
