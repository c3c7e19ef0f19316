"""From a repository of the hub to a data set's folder: staged beside it, then moved. Nothing there is overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rrsis_bench.data.fetch import origin
from rrsis_bench.data.fetch.archives import is_archive, unpack
from rrsis_bench.data.fetch.hub import Offer, fetch, page
from rrsis_bench.data.fetch.origin import Origin
from rrsis_bench.data.sources.base import Source
from rrsis_bench.data.state import FileState
from rrsis_bench.data.tables import table_files
from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.files import make_folder, refused

_ELSEWHERE = "Free some space, or set RRSIS_DATA (or --root) to another disk."


def refuse_users_files(root: Path) -> None:
    """Check that a folder is missing, empty, or was fetched.

    Raises:
        UserError: the folder holds something else.
    """
    if (root.is_dir() and any(root.iterdir()) and origin.read(root) is None) or (root.exists() and not root.is_dir()):
        raise UserError(
            f"{root} holds files that `data fetch` did not write, and nothing is overwritten: move it away, or fetch "
            "into another folder (--root)."
        )


def is_fetched(offer: Offer, root: Path) -> bool:
    """Whether a folder holds a revision.

    Raises:
        UserError: it holds another one.
    """
    held = origin.read(root)
    if held is None:
        return False
    if (held.repository, held.revision) == (offer.repository, offer.revision):
        return True
    stated = {file.name: file.sha256 for file in offer.files if file.sha256}
    same = bool(stated) and all(held.files.get(name) == digest for name, digest in stated.items())
    raise UserError(
        f"{root} holds {held}, and this is {offer.repository}@{offer.revision}"
        f"{', with the same large files' if same else ''}. Nothing is overwritten: move the folder away to fetch the "
        f"other revision, or keep it (--repo {held.repository} --revision {held.revision})."
    )


def arrived(offer: Offer, root: Path) -> int:
    """Bytes of an offer that an interrupted call left beside the folder."""
    staging, found = staging_of(root), 0
    for file in offer.files:
        whole, part = staging / "files" / file.name, staging / "parts" / file.digest
        if whole.is_file() and whole.stat().st_size == file.size:
            found += file.size
        elif part.is_file():
            found += min(part.stat().st_size, file.size)
    return found


def needed(offer: Offer, root: Path) -> int:
    """Bytes that the disk must have free: what is still to come, and what the archives hold, at the least."""
    return offer.size - arrived(offer, root) + sum(file.size for file in offer.files if is_archive(file.name))


def free(root: Path) -> int:
    """Bytes that are free where a folder is or will be."""
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def into(offer: Offer, root: Path, source: Source) -> Origin:
    """Fetch, check, unpack and move into place.

    Args:
        offer: what to fetch.
        root: the data set's folder; it must be missing or empty.
        source: what will read it.

    Raises:
        UserError: the disk is full, another process fetches the same, or an archive is refused.
        MissingResourceError: the hub cannot be reached, or a file has another digest; see `hub.fetch`.
    """
    if (want := needed(offer, root)) > (there := free(root)):
        raise UserError(
            f"{page(offer.repository)} needs {sized(want)} of disk, and {root} has {sized(there)} free. {_ELSEWHERE}"
        )
    root = root.resolve()  # a link to a folder on another disk stays: what it leads to is replaced
    staging = staging_of(root)
    make_folder(staging)
    with alone(staging):
        refuse_users_files(root)
        if is_fetched(offer, root) and (held := origin.read(root)) is not None:  # meanwhile, by another process
            shutil.rmtree(staging, ignore_errors=True)
            return held
        try:
            _remove_others(offer, staging)
        except OSError as error:
            raise refused(staging, error, "") from error
        digests = {file.name: fetch(offer, file, staging) for file in offer.files}
        try:
            made = _laid_out(staging, source)
            record = Origin(
                offer.repository, offer.revision, offer.licence, digests, identity_of(made, staging, source)
            )
            settle(made, root, record)
        except OSError as error:
            raise refused(root, error, "What was fetched is kept, and the same command continues.") from error
        shutil.rmtree(staging, ignore_errors=True)
    return record


def settle(made: Path, root: Path, record: Origin) -> None:
    """Record where a staged folder is from, and put it in the place of the data set's missing or empty folder."""
    record.write(made / origin.NAME)
    if root.is_dir():
        root.rmdir()  # empty, or this fails
    os.replace(made, root)


def tidy(root: Path) -> None:
    """Remove what a call left beside a folder that is complete; a process that was killed at its end leaves a lot."""
    staging = staging_of(root)
    if staging.is_dir():
        with contextlib.suppress(UserError), alone(staging):
            shutil.rmtree(staging, ignore_errors=True)


def sized(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def staging_of(root: Path) -> Path:
    """The folder beside a data set's folder where files arrive."""
    place = root.resolve()
    return place.with_name(f".{place.name}.fetch")


@contextmanager
def alone(staging: Path) -> Iterator[None]:
    """Keep other processes out of a staging folder. Raises UserError if one is there."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(staging / "lock", timeout=0):
            yield
    except Timeout as error:
        raise UserError(f"another process fetches into {staging}; wait for it.") from error


def _remove_others(offer: Offer, staging: Path) -> None:
    """Remove what a call for another repository or revision left: it would be laid out among the offer's files."""
    files, parts = staging / "files", staging / "parts"
    wanted = {path for file in offer.files for path in (files / file.name, parts / file.digest)} | {staging / "lock"}
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        elif path not in wanted:
            path.unlink()


def _laid_out(staging: Path, source: Source) -> Path:
    """The folder that becomes the data set's: the files, with archives unpacked in place of themselves."""
    files, content = staging / "files", staging / "content"
    archives = [path for path in sorted(files.rglob("*")) if path.is_file() and is_archive(path.name)]
    for archive in archives:
        unpack(archive, content)
    whole = content if archives else files
    made = _top(whole, source)
    for above in made.parents:
        if not above.is_relative_to(whole):
            break
        for path in above.iterdir():  # files beside the folder, such as a licence
            if path.is_file() and not (made / path.name).exists():
                os.replace(path, made / path.name)
    if not archives:
        return made
    for path in sorted(files.rglob("*")):
        target = made / path.relative_to(files)
        if path.is_file() and path not in archives and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return made


def _top(content: Path, source: Source) -> Path:
    """The folder within an unpacked archive that the source reads; the whole where it reads none."""
    folder = content
    while True:
        if _places(folder, source):
            return folder
        inner = [path for path in folder.iterdir() if path.is_dir()]
        if len(inner) != 1:
            return content
        folder = inner[0]


def _places(folder: Path, source: Source) -> tuple[Path, ...]:
    try:
        return tuple(source.key_files(folder))
    except MissingResourceError:
        # A copy whose columns have other names, which the data set's file may name later.
        return tuple(table_files(folder))


def identity_of(made: Path, staging: Path, source: Source) -> str:
    """The identity of a staged data set's files; "" where the layout is not the expected one."""
    places = _places(made, source)
    return FileState(staging / "state.json", made, places).identity() if places else ""
