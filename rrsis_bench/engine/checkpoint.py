"""Checkpoints: they hold trained tensors and plain values, are written atomically, and are loaded strictly.

A checkpoint's `state_dict` holds the trainable parameters, and the buffers of modules that are not wholly frozen. The
frozen tensors that base weights set are left out; a hash proves that they are the same. Other frozen tensors come from
the seed, and the checkpoint holds them, too. The entry `rrsis_bench` says of what the
checkpoint is.

- Network: method, variant, options, the sha256 of each base weights file, and the hash of the frozen tensors.
- Run: its id, the identity of its data, and its resolved configuration.
- Choice: the split that chose the checkpoint, `none` for `last.ckpt`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor, nn

from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import atomic, write_text
from rrsis_bench.run.folder import RunFolder

PREFIX = "method."
ENTRY = "rrsis_bench"
FORMAT = 2
"""Format 1 lacks `run`, `selected_on`, `data` and `config`; this suite still reads it."""


class WholeFileIO(TorchCheckpointIO):
    """Makes Lightning write and read checkpoints by `write` and `read` of this file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; see `write`."""
        write(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, always with `weights_only=True`; see `read`."""
        return read(Path(path))


def write(content: Mapping[str, Any], path: Path) -> None:
    """Save a checkpoint atomically, and its sha256 beside it (`best.ckpt.sha256`, in the format of `sha256sum`).

    Raises:
        UserError: the file cannot be written; the earlier file stays, and no other file is left.
    """
    try:
        with atomic(path) as stream:
            hashing = _Hashing(stream)
            torch.save(dict(content), cast(IO[bytes], hashing))
            digest = hashing.digest.hexdigest()
            # Until the rename, a reader may find the old or the new file; both digests must be listed.
            _keep_digests(path, [*_kept_digests(path), digest])
        _keep_digests(path, [digest])
    except UserError as error:
        raise UserError(f"{error} Then continue with --resume auto.") from error


class _Hashing:
    """A stream for `torch.save` that hashes the bytes written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def digest_path(path: Path) -> Path:
    """The file that holds the sha256 of a checkpoint."""
    return path.with_name(f"{path.name}.sha256")


def _keep_digests(path: Path, digests: list[str]) -> None:
    write_text(digest_path(path), "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests)))


def _kept_digests(path: Path) -> list[str]:
    try:
        return [line.split()[0] for line in digest_path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []


def verify(path: Path) -> None:
    """Check that a checkpoint is undamaged, by the sha256 beside it or, without one, by the checksums inside it.

    Raises:
        UserError: the file is missing, truncated, damaged, no checkpoint, or does not have the sha256 beside it.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no checkpoint, or a truncated one; name another file or train again.")
    kept = _kept_digests(path)
    try:
        # One of the two is enough: the digest covers every byte, the archive's checksums every member.
        if kept:
            with path.open("rb") as stream:
                sound = file_digest(stream, "sha256").hexdigest() in kept
        else:
            with zipfile.ZipFile(path) as archive:
                sound = archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"checkpoint {path} is damaged ({error}); name another file or train again.") from error
    if not sound:
        hint = f", or {digest_path(path).name} is of another file" if kept else ""
        raise UserError(f"checkpoint {path} is damaged{hint}; name another file or train again.")


def read(path: Path) -> dict[str, Any]:
    """Verify a checkpoint of this suite, and load it onto the CPU with `weights_only=True`.

    Raises:
        UserError: see `verify`; or this suite did not write the file.
    """
    verify(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        if "Weights only load failed" in str(error):
            raise UserError(
                f"{path} holds Python objects besides tensors, and opening them could run code; give a checkpoint that "
                "rrsis-bench fit wrote."
            ) from error
        raise UserError(f"checkpoint {path} is damaged; name another file or train again.") from error
    if not isinstance(content, dict) or ENTRY not in content or "state_dict" not in content:
        raise UserError(
            f"{path} was not written by rrsis-bench fit; score a paper's own weights with test --weights FILE."
        )
    return content


def frozen_names(method: nn.Module) -> list[str]:
    """Names of the tensors in a method's `state_dict` that training never changes, sorted.

    A parameter is frozen if it requires no gradient. A buffer is frozen if the nearest enclosing module with parameters
    has only frozen ones. Thus BatchNorm statistics inside an adapter are trained; those of a frozen encoder are frozen.
    """
    frozen_modules: dict[str, bool] = {}
    has_parameters: dict[str, bool] = {}
    for name, module in method.named_modules():
        flags = [parameter.requires_grad for parameter in module.parameters()]
        has_parameters[name] = bool(flags)
        frozen_modules[name] = bool(flags) and not any(flags)
    parameters = dict(method.named_parameters(remove_duplicate=False))

    def buffer_is_frozen(key: str) -> bool:
        owner = key.rpartition(".")[0]
        while owner and not has_parameters.get(owner, False):
            owner = owner.rpartition(".")[0]
        return frozen_modules.get(owner, False)

    return sorted(
        key
        for key in method.state_dict()
        if (not parameters[key].requires_grad if key in parameters else buffer_is_frozen(key))
    )


def hash_tensors(state: Mapping[str, Tensor], names: list[str]) -> str:
    """sha256 over names, shapes, types and bytes of tensors; "" if there are no names."""
    if not names:
        return ""
    digest = sha256()
    for name in names:
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def strict_load(method: nn.Module, content: Mapping[str, Any], source: Path | str, whole: bool = False) -> None:
    """Load a checkpoint's tensors into a method. The checkpoint must hold all tensors but those of base weights.

    To score or predict, it may also lack all tensors of a prefix of `training_only`; these keep their initial values.

    Args:
        method: method to load the tensors into.
        content: content of the checkpoint.
        source: file of the checkpoint, for messages.
        whole: require the tensors of `training_only` too, since training continues.

    Raises:
        UserError: names or shapes differ, or the frozen tensors are not those that the checkpoint was trained on.
    """
    state = {key.removeprefix(PREFIX): value for key, value in content["state_dict"].items() if key.startswith(PREFIX)}
    expected = str(content[ENTRY].get("frozen_sha256", ""))
    own = method.state_dict()
    frozen = [name for name in frozen_names(method) if name not in state] if expected else []
    wanted = set(own) - set(frozen)
    for prefix in () if whole else getattr(method, "training_only", ()):
        spared = {name for name in wanted if name.startswith(prefix)}
        wanted -= set() if spared & set(state) else spared
    problems = [f"lacks {name}" for name in sorted(wanted - set(state))]
    problems += [f"has the unknown {name}" for name in sorted(set(state) - wanted)]
    problems += [
        f"has {name} of shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(wanted & set(state))
        if state[name].shape != own[name].shape
    ]
    if problems:
        raise UserError(
            f"checkpoint {source} does not fit the method: it {problems[0]}"
            f"{f' ({len(problems)} differences in all)' if len(problems) > 1 else ''}; "
            "use the method, variant and options of its run's config.yaml."
        )
    if hash_tensors(own, frozen) != expected:
        raise UserError(
            f"checkpoint {source} was trained on other base weights than those loaded now: the hash of the "
            f"{len(frozen)} frozen tensors differs. Restore the base weights of the training: "
            f"{describe(content[ENTRY].get('weights', {}))}."
        )
    method.load_state_dict(state, strict=False)


def describe(weights: Mapping[str, str]) -> str:
    """Each encoder with the first digits of its weights' sha256, as text."""
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(weights.items())) or "none named"


def check_identity(
    content: Mapping[str, Any], method: str, variant: str, options: Mapping[str, Any], source: Path | str
) -> None:
    """Check that a checkpoint belongs to a method, variant and options.

    Raises:
        UserError: it does not; the message names both sides of the first difference.
    """
    entry = content[ENTRY]
    found, asked = f"{entry['method']} ({entry['variant']})", f"{method} ({variant})"
    if found != asked:
        raise UserError(
            f"checkpoint {source} is one of {found}, not of {asked}; pass --method {entry['method']} "
            f"--variant {entry['variant']}, or another checkpoint."
        )
    saved = entry["options"]
    if differing := sorted(key for key in {*saved, *options} if saved.get(key) != options.get(key)):
        key = differing[0]
        raise UserError(
            f"checkpoint {source} was trained with model.options.{key}={saved.get(key, 'its default')}, not "
            f"{options.get(key, 'its default')}; use the options of its run's config.yaml."
        )


def read_for(path: Path, method: str, variant: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint that is sound and belongs to a method, variant and options.

    Raises:
        UserError: see `read` and `check_identity`.
    """
    content = read(path)
    check_identity(content, method, variant, options, path)
    return content


def selection_split(content: Mapping[str, Any], path: Path) -> str:
    """The split that chose a checkpoint.

    A checkpoint of format 1 does not state the split. It follows from the file's name and the run's configuration.

    Returns:
        `val`, `test`, `none` for a checkpoint that no score chose, or `unknown` for format 1 outside a run folder.
    """
    entry = content[ENTRY]
    if "selected_on" in entry:
        return str(entry["selected_on"])
    folder = RunFolder(path.resolve().parent.parent)
    if path.name == folder.last.name:
        return "none"
    if path.name != folder.best.name or path.resolve().parent != folder.checkpoints or not folder.config_path.is_file():
        return "unknown"
    return str((folder.config().get("data") or {}).get("select_on", "val"))
