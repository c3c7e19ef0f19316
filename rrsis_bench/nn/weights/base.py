"""The base weights that a method's options name, loaded into its encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from rrsis_bench.errors import UsageError
from rrsis_bench.nn.weights.files import load_tensors, naming_the_file
from rrsis_bench.nn.weights.refs import resolve, sha256_file

Load = Callable[[Mapping[str, Tensor]], None]
"""Loads the tensors of a weights file into an encoder, strictly."""


def load_base(ref: str, load: Load) -> str:
    """Load one weights file into an encoder; half precision becomes float32.

    Args:
        ref: the file, as options name it (`nn/weights/refs.py`).
        load: the encoder's function that loads tensors.

    Returns:
        sha256 of the file.

    Raises:
        MissingResourceError: the file is missing, unreadable or of another network; the message names it.
    """
    path = resolve(ref)
    with naming_the_file(path):
        tensors = load_tensors(path)
        load({name: value.float() if value.is_floating_point() else value for name, value in tensors.items()})
    return sha256_file(path)


def load_frozen(method: str, options: Any, encoders: Mapping[str, Load]) -> dict[str, str]:
    """Load the base weights of frozen encoders; only `random` starts them from random values.

    Args:
        method: the method's name, for messages.
        options: its options; `<encoder>_weights` names a file, or `random` for a random start.
        encoders: name of an encoder -> its function that loads tensors.

    Returns:
        name of an encoder -> sha256 of its file, for encoders that name one.

    Raises:
        UsageError: an option is empty.
        MissingResourceError: a file is missing, unreadable or of another network; the message names it.
    """
    digests: dict[str, str] = {}
    for encoder, load in encoders.items():
        ref: str = getattr(options, f"{encoder}_weights")
        if not ref:
            raise UsageError(
                f"{method}: {encoder}_weights names no file for the frozen encoder; "
                f"set it in model.options (see configs/methods/{method}.yaml)."
            )
        if ref != "random":
            digests[encoder] = load_base(ref, load)
    return digests
