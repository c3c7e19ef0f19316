"""Whole networks of transformers: their classes, their configurations, and their published weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.nn.layers.lora import fit_base
from rrsis_bench.nn.weights.files import few


def library_class(name: str, since: str) -> Any:
    """A class of transformers.

    Args:
        name: name of the class.
        since: first version of transformers that has it.

    Raises:
        UserError: the installed version lacks the class; the message names the version to install.
    """
    import transformers

    try:
        return getattr(transformers, name)
    except AttributeError as error:
        raise UserError(
            f"transformers {transformers.__version__} has no {name}: pip install 'transformers>={since}'."
        ) from error


def folder_config(kind: Any, weights: str) -> Any | None:
    """The configuration beside weights in a local folder, as `save_pretrained` writes both.

    Args:
        kind: the library's class of configurations.
        weights: the option that names the weights.

    Returns:
        the configuration; None if `weights` names no folder.

    Raises:
        MissingResourceError: the folder holds no readable `config.json`.
    """
    folder = Path(weights).expanduser()
    if not weights or not folder.is_dir():
        return None
    if not (folder / "config.json").is_file():
        raise MissingResourceError(f"{folder} holds no config.json; name a folder that save_pretrained wrote.")
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises its own, JSON and OS errors
        raise MissingResourceError(f"cannot read {folder}/config.json: {' '.join(str(error).split())[:160]}") from error


def fit_library(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load the tensors of a published checkpoint, strictly; LoRA's updates stay as they are.

    The library itself converts the names of its earlier versions, and drops what its class declares unused.

    Args:
        network: a model of transformers, perhaps with LoRA.
        tensors: values by name, as the checkpoint has them.
        what: names the tensors in messages.

    Raises:
        MissingResourceError: names or shapes differ; the message names the first few.
    """
    with _quiet():
        try:
            loaded, report = type(network).from_pretrained(  # type: ignore[attr-defined]
                None,
                config=network.config,
                state_dict=dict(tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:  # the library raises errors of many kinds
            raise MissingResourceError(
                f"{what} do not fit the network: {' '.join(str(error).split())[:160]}"
            ) from error
    faults = {
        "does not know": sorted(report["unexpected_keys"]),
        "misses": sorted(report["missing_keys"]),
        "has another shape for": sorted(str(name[0]) for name in report["mismatched_keys"]),
    }
    parts = [f"{fault} {few(names)}" for fault, names in faults.items() if names]
    if parts:
        raise MissingResourceError(f"{what} do not fit the network: it {'; it '.join(parts)}.")
    fit_base(network, loaded.state_dict(), what)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's progress bar and its table of faults, which the error repeats in one line."""
    from transformers.utils import logging as library

    logger = logging.getLogger("transformers")
    level, bar = logger.level, library.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bar:
            library.enable_progress_bar()
