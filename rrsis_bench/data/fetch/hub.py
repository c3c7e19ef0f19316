"""A data set's repository on the Hugging Face hub. An interrupted file is continued, and every digest is checked."""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path

from rrsis_bench.data.fetch.archives import is_inside
from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.files import refused
from rrsis_bench.nn.weights.refs import MissingDownloadError, check_connection, licence_hint, reason

_AT_ONCE = 1 << 20  # bytes
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS})
KEPT = "What has arrived is kept, and the same command continues."
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A commit or a digest. Digests become names of files: nothing else may."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        name: path in the repository.
        size: in bytes.
        sha256: of its content, which the hub knows of large files; "" for the others.
        blob: of the others, git's SHA-1 of the blob.
    """

    name: str
    size: int
    sha256: str
    blob: str

    @property
    def digest(self) -> str:
        """What the hub says of the content."""
        return self.sha256 or self.blob


@dataclass(frozen=True)
class Offer:
    """A revision of a repository.

    Attributes:
        repository: `OWNER/NAME`.
        revision: the commit.
        licence: what its card says, or "".
        files: all but hidden ones.
    """

    repository: str
    revision: str
    licence: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def page(repository: str) -> str:
    """The address of a repository's page."""
    return f"{_endpoint()}/datasets/{repository}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def look(repository: str, revision: str | None = None) -> Offer:
    """Ask the hub what a repository holds.

    Args:
        repository: `OWNER/NAME`.
        revision: commit, tag or branch; None for the newest.

    Raises:
        MissingDownloadError: no connection, no such repository or revision, or it is gated.
        UserError: the repository names a file outside of itself, or states no commit, or no size or digest of a file.
    """
    from huggingface_hub import HfApi

    try:
        check_connection(_endpoint())
        api = HfApi(endpoint=_endpoint())
        info = api.dataset_info(repository, revision=revision, files_metadata=True, timeout=30)
    except Exception as error:  # the client raises its own, httpx' and OS errors
        raise _unreachable(f"data set {page(repository)}", error, "") from error
    if not _HEX.fullmatch(str(info.sha)):
        raise UserError(f"{page(repository)} states no commit ({info.sha!r}); nothing was fetched.")
    files = []
    for sibling in info.siblings or []:
        if any(part.startswith(".") and part != ".." for part in sibling.rfilename.split("/")):
            continue
        known = sibling.lfs.sha256 if sibling.lfs is not None else ""
        stated = _HEX.fullmatch(known or sibling.blob_id or "") is not None and sibling.size is not None
        if not is_inside(sibling.rfilename) or not stated:
            raise UserError(
                f"{page(repository)} names the file {sibling.rfilename!r}, which lies outside of it or has no size or "
                "digest; nothing was fetched. Tell its owner, or name another copy: --repo OWNER/NAME."
            )
        files.append(HubFile(sibling.rfilename, int(sibling.size or 0), known, sibling.blob_id or ""))
    licence = getattr(info.card_data, "license", None) or ""
    said = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)
    return Offer(repository, str(info.sha), said, tuple(files))


def fetch(offer: Offer, file: HubFile, folder: Path) -> str:
    """Fetch a file to `<folder>/files/<name>`; what an earlier call left in `<folder>/parts` is continued.

    Returns:
        the sha256 of the file, whose digest is the one that the hub states.

    Raises:
        MissingDownloadError: the file cannot be fetched; what has arrived is kept.
        MissingResourceError: the file arrived with another digest, and was deleted.
        UserError: the disk is full or may not be written.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars, logging  # type: ignore[attr-defined]

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the client would report each of its attempts
    if not sys.stderr.isatty():
        disable_progress_bars()
    target, part = folder / "files" / file.name, folder / "parts" / file.digest
    try:
        for path in (target, part):
            path.parent.mkdir(parents=True, exist_ok=True)
        # A file of the same name may be that of another revision, whose fetching stopped.
        kept = _digests(target) if target.is_file() else ("", "")
        if file.digest not in kept:
            with part.open("ab") as stream:
                if stream.tell() > file.size:
                    stream.truncate(0)
                url = hf_hub_url(
                    offer.repository, file.name, repo_type="dataset", revision=offer.revision, endpoint=_endpoint()
                )
                # Not `hf_hub_download`: its newer releases begin a file anew in every process.
                http_get(
                    url, stream, resume_size=stream.tell(), headers=build_hf_headers(), expected_size=file.size,
                    displayed_filename=file.name,
                )  # fmt: skip
            os.replace(part, target)
            kept = _digests(target)
    except Exception as error:  # the client raises its own, httpx' and OS errors
        if isinstance(error, OSError) and error.errno in DISK:
            raise refused(part, error, KEPT) from error
        raise _unreachable(f"'{file.name}' of {page(offer.repository)}", error, KEPT) from error
    found, blob = kept
    if file.digest not in kept:
        target.unlink()
        kind, other = ("sha256", found) if file.sha256 else ("git SHA-1", blob)
        raise MissingResourceError(
            f"'{file.name}' of {page(offer.repository)} arrived damaged: its {kind} is {other}, expected "
            f"{file.digest}. The file was deleted; run the command again."
        )
    return found


def _digests(path: Path) -> tuple[str, str]:
    """The sha256 of a file, and git's SHA-1 of it as a blob."""
    content, blob = sha256(), sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while data := stream.read(_AT_ONCE):
            content.update(data)
            blob.update(data)
    return content.hexdigest(), blob.hexdigest()


def _unreachable(what: str, error: Exception, state: str) -> MissingDownloadError:
    hints = {
        "RepositoryNotFoundError": " Check the name; for a private one, log in (`hf auth login`).",
        "RevisionNotFoundError": " Check the revision (--revision).",
    }
    hint = licence_hint(type(error).__name__ == "GatedRepoError") or hints.get(type(error).__name__, "")
    return MissingDownloadError(f"{what} cannot be fetched ({reason(error)}).{hint} {state}".rstrip())
