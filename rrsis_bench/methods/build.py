"""Builds a method by name, variant and options, and loads its base weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor

from rrsis_bench import registry
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.weights.refs import MissingDownloadError

ABILITIES: Mapping[str, tuple[str, str]] = {
    "activation_checkpointing": (
        "checkpoint_activations",
        "compute activations again in the backward pass, to save memory; without it, the other values of "
        "--trainer low-memory hold",
    ),
}
"""Switch of the `model` block -> the function of `Method` that a method must have for it, and what the switch does."""


def check_able(name: str, model: Mapping[str, Any]) -> None:
    """Refuse a switch that has no effect on a method: the method lacks the function that the switch calls.

    Args:
        name: registry name.
        model: the `model` block of a configuration.

    Raises:
        UsageError: says what the switch does, and names the methods on which it has an effect.
    """
    for switch, (function, effect) in ABILITIES.items():
        if model.get(switch) and not _has(name, function):
            able = [other for other in sorted(registry.method_targets()) if _has(other, function)]
            raise UsageError(
                f"model.{switch} has no effect on {name}, only on {', '.join(able) or 'no known method'}: set "
                f"--model.{switch}=false. It would {effect}."
            )


def _has(name: str, function: str) -> bool:
    try:
        return overrides(method_class(name), function)
    except UserError:  # another package's, and broken
        return False


def overrides(kind: type[Method], function: str) -> bool:
    """Whether a method overrides a function of `Method`."""
    return getattr(kind, function) is not getattr(Method, function)


def method_class(name: str) -> type[Method]:
    """Import the class of a method, and check what the suite needs to build it.

    Raises:
        UserError: the class cannot be imported, is no `Method`, has another name, or its `Options` are no dataclass.
    """
    kind: Any = registry.load_class(name)
    where = f"method '{name}': {registry.target(name)}"
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise UserError(f"{where} is no subclass of rrsis_bench.methods.base.Method.")
    if getattr(kind, "name", None) != name:
        raise UserError(f"{where} has the name {getattr(kind, 'name', None)!r}; write name = {name!r} in the class.")
    options = getattr(kind, "Options", None)
    if not (isinstance(options, type) and is_dataclass(options)):
        raise UserError(f"{where} has no dataclass `Options`; write Options = MyOptions in the class.")
    return kind


def build_method(
    name: str, variant: str, options: Mapping[str, Any], pretrained: bool = True
) -> tuple[Method, dict[str, str]]:
    """Build a method's network and load the base weights that its options name.

    Args:
        name: registry name.
        variant: name of the variant, for messages; the options alone define the network.
        options: the method's options as plain values.
        pretrained: load base weights. False keeps random weights, for a network whose weights do not matter, or are
            loaded afterwards.

    Returns:
        the method, and encoder name -> sha256 of its weights file.

    Raises:
        UsageError: unknown method or option, or a value that the option's type does not allow.
        MissingResourceError: base weights are missing.
    """
    method = method_class(name).from_options(options)
    if not pretrained:
        return method, {}
    try:
        return method, load_base(method)
    except MissingDownloadError as error:
        raise MissingDownloadError(
            f"{error} All files of this variant: rrsis-bench weights prefetch --method {name} "
            f"--variant {variant.partition('+')[0]}."
        ) from error


def load_base(method: Method) -> dict[str, str]:
    """Load the base weights that a method's options name, and note in `method.from_base` which tensors they set.

    A tensor was set if it is another one than before, or if torch counts a change in place.

    Returns:
        encoder name -> sha256 of its weights file.

    Raises:
        MissingResourceError: base weights are missing.
    """
    before = {name: (id(value), value.data_ptr(), value._version) for name, value in _tensors(method)}
    weights = dict(method.load_pretrained())
    method.from_base = frozenset(
        name for name, value in _tensors(method) if before.get(name) != (id(value), value.data_ptr(), value._version)
    )
    return weights


def _tensors(method: Method) -> Iterator[tuple[str, Tensor]]:
    yield from method.named_parameters(remove_duplicate=False)
    yield from method.named_buffers(remove_duplicate=False)
