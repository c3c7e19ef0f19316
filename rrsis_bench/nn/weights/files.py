"""Weights files as tensors: read without running code, renamed, and loaded strictly.

`rrsis_bench/nn/weights/refs.py` says how a configuration names a weights file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a `.safetensors` file or a `.pth` checkpoint as a mapping; nothing in it can run code.

    A checkpoint may hold tensors, plain containers and `argparse.Namespace`, which many released ones contain.

    Raises:
        MissingResourceError: the file is unreadable, or holds other objects.
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
    """Read the tensors of a weights file by name.

    If the checkpoint has an entry `model` or `state_dict`, that entry is read. What is no tensor is skipped.

    Raises:
        MissingResourceError: the file is unreadable, or holds no tensors.
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


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Whatever is wrong with a weights file that is read inside: the message names the file.

    Raises:
        MissingResourceError: the file does not exist, or what the body raises.
    """
    if not path.is_file():
        raise MissingResourceError(f"weights file {path} does not exist.")
    try:
        yield
    except MissingResourceError as error:
        known = str(path) in str(error)
        raise MissingResourceError(str(error) if known else f"{path}: {error}") from error


def strip_prefixes(tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Remove each prefix in turn from all names, if every name has it."""
    stripped = dict(tensors)
    for prefix in prefixes:
        if stripped and all(name.startswith(prefix) for name in stripped):
            stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


def few(names: Sequence[str]) -> str:
    """The first three names, and how many more there are, for a message."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def fit(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load tensors into a module strictly: every name on both sides, every shape.

    Args:
        module: receives the values.
        tensors: values by the module's own names.
        what: names the tensors in the message.

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
    parts = [f"{fault} {few(names)}" for fault, names in faults.items() if names]
    if parts:
        raise MissingResourceError(f"{what} do not fit the network: it {'; it '.join(parts)}.")
    module.load_state_dict(dict(tensors), strict=True)
