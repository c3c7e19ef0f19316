"""Checkpoints: only what trains, plain content, written whole or not at all, loaded strictly.

A checkpoint's `state_dict` holds the trainable parameters and the buffers of modules that are not wholly frozen. What
is left out (the frozen tensors) comes back from the base weights, and a hash of it proves that they are the same.
Beside it stands the `rrsis_bench` entry, which says what the checkpoint is of: method, variant, options, the base
weights' sha256s and the frozen tensors' hash; the run's id, its data, the split that chose the checkpoint (`none` for
`last.ckpt`) and the resolved configuration.
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
"""1: without `run`, `selected_on`, `data` and `config`; still read."""


class WholeFileIO(TorchCheckpointIO):
    """Lightning's checkpoint files through `write` and `read`: atomic, durable, plain content only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the old file stays until the new one is complete."""
        write(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint onto the CPU. `weights_only` is always on."""
        return read(Path(path))


def write(content: Mapping[str, Any], path: Path) -> None:
    """Save with torch, atomically, and keep the file's sha256 beside it (`best.ckpt.sha256`, as `sha256sum` writes it).

    Raises:
        UserError: the disk refuses; the earlier file stays, and nothing else is left behind.
    """
    try:
        with atomic(path) as stream:
            hashing = _Hashing(stream)
            torch.save(dict(content), cast(IO[bytes], hashing))
            digest = hashing.digest.hexdigest()
            # Until the new file has taken its place, a reader may meet either: both are sound.
            _keep_digests(path, [*_kept_digests(path), digest])
        _keep_digests(path, [digest])
    except UserError as error:
        raise UserError(f"{error} Then continue with --resume auto.") from error


class _Hashing:
    """A stream for `torch.save` that hashes what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def digest_path(path: Path) -> Path:
    """Where the sha256 of a checkpoint is kept."""
    return path.with_name(f"{path.name}.sha256")


def _keep_digests(path: Path, digests: list[str]) -> None:
    write_text(digest_path(path), "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests)))


def _kept_digests(path: Path) -> list[str]:
    try:
        return [line.split()[0] for line in digest_path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []


def verify(path: Path) -> None:
    """Prove that a checkpoint is what was written: by the checksums inside it, and by the digest beside it if any.

    Raises:
        UserError: missing, truncated, no checkpoint, damaged, or another file than the digest beside it is of.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no checkpoint, or a truncated one; name another file or train again.")
    kept = _kept_digests(path)
    try:
        # One of the two is enough: the digest covers every byte, the archive's checksums those of its members.
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
    """Load a checkpoint of this suite onto the CPU, verified, with `weights_only=True`.

    Raises:
        UserError: see `verify`; or not one of this suite.
    """
    verify(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        if "Weights only load failed" in str(error):
            raise UserError(
                f"{path} holds Python objects besides tensors and is not opened, since that could run code; "
                "only checkpoints written by rrsis-bench fit are read here."
            ) from error
        raise UserError(f"checkpoint {path} is damaged; name another file or train again.") from error
    if not isinstance(content, dict) or ENTRY not in content or "state_dict" not in content:
        raise UserError(
            f"{path} was not written by rrsis-bench fit; a paper's own weights are given with test --weights FILE."
        )
    return content


def frozen_names(method: nn.Module) -> list[str]:
    """Names of the tensors in a method's `state_dict` that never change: sorted.

    A parameter is frozen when it requires no gradient; a buffer when the nearest enclosing module that has parameters
    has only such (so BatchNorm statistics inside an adapter count as trained, those of a frozen encoder do not).
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
    """sha256 over names, shapes, types and bytes of tensors; "" for none."""
    if not names:
        return ""
    digest = sha256()
    for name in names:
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def strict_load(method: nn.Module, content: Mapping[str, Any], source: Path | str, whole: bool = False) -> None:
    """Load a checkpoint's tensors into a method: exactly the frozen ones may be, and must be, missing.

    Besides, all tensors of one of the method's `training_only` prefixes together may be missing: they keep their start.

    Args:
        method: receives the values.
        content: the checkpoint.
        source: where it came from, for the message.
        whole: to train on, where nothing but the frozen tensors may be missing.

    Raises:
        UserError: names or shapes differ, or the frozen tensors are not those the checkpoint was trained on.
    """
    state = {key.removeprefix(PREFIX): value for key, value in content["state_dict"].items() if key.startswith(PREFIX)}
    own, frozen = method.state_dict(), frozen_names(method)
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
            f"{f' (and {len(problems) - 1} more such)' if len(problems) > 1 else ''}; "
            "use the method, variant and options of its run's config.yaml."
        )
    expected = str(content[ENTRY].get("frozen_sha256", ""))
    if hash_tensors(own, frozen) != expected:
        raise UserError(
            f"checkpoint {source} was trained on other base weights than those loaded now (hash of the "
            f"{len(frozen)} frozen tensors differs); base weights then: {describe(content[ENTRY].get('weights', {}))}."
        )
    method.load_state_dict(state, strict=False)


def describe(weights: Mapping[str, str]) -> str:
    """Encoders and the beginnings of their weights' sha256s, in words."""
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(weights.items())) or "none named"


def check_identity(
    content: Mapping[str, Any], method: str, variant: str, options: Mapping[str, Any], source: Path | str
) -> None:
    """Refuse a checkpoint of another method, variant or other options.

    Raises:
        UserError: saying what it is a checkpoint of, and what was asked for.
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


def selection_split(content: Mapping[str, Any], path: Path) -> str:
    """The split a checkpoint was chosen on: `val`, `test`, or `none` for one that was not chosen.

    A checkpoint of format 1 does not say it: there the file's name and the configuration of its run folder tell.

    Returns:
        `unknown` for one of format 1 outside a run folder.
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
