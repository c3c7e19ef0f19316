"""Makes a method's options from a configuration file, and checks them against the fields of the options' dataclass.

The type of a field states which values its option may have. The type of a closed set of values is a `Literal`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rrsis_bench.errors import UsageError, did_you_mean, nearest

KINDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
}
"""Types of single values, and their names in messages."""


def build_options(method: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a method's options from plain values.

    Args:
        method: name of the method, for messages.
        kind: dataclass of the options.
        values: option -> value, as a configuration file holds them. Lists become tuples, since options are immutable.

    Returns:
        an instance of `kind`.

    Raises:
        UsageError: `kind` lacks an option, a field's type does not allow a value, or a field without default gets no
            value.
    """
    known = {field.name: field for field in fields(kind) if field.init}
    hints = _hints(method, kind)
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{method} has no option '{name}'.{did_you_mean(name, list(known))}")
        if not allows(hints[name], value):
            raise UsageError(
                f"{method}: option '{name}' must be {describe(hints[name])}, not {_shown(value)}."
                f"{_hint(hints[name], value)}"
            )
    for name, field in known.items():
        if name not in values and _is_required(field):
            raise UsageError(f"{method}: option '{name}' has no default; set it to {describe(hints[name])}.")
    return kind(**{name: _immutable(value) for name, value in values.items()})


def allows(hint: Any, value: Any) -> bool:
    """Whether a field of a type may hold a value.

    An int is allowed for a float, and a bool for neither int nor float. A list is allowed for a tuple.

    Args:
        hint: type of the field: a class, a `Literal`, a union, or a sequence of these. A type that is no class, such as
            `Any`, allows every value.
        value: a plain value.
    """
    hint = getattr(hint, "__value__", hint)  # a `type` statement's alias
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (Union, UnionType):
        return any(allows(one, value) for one in arguments)
    kind = origin or hint
    if hint is Any or not isinstance(kind, type):
        return True
    if issubclass(kind, tuple | list) or kind is Sequence:
        return isinstance(value, list | tuple) and _allows_items(kind, arguments, value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def describe(hint: Any) -> str:
    """The values that a field of a type may hold, in words: "one of bce, bce-dice" or "a whole number or null"."""
    hint = getattr(hint, "__value__", hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(one if isinstance(one, str) else _shown(one) for one in arguments)
    if origin in (Union, UnionType):
        return " or ".join(describe(one) for one in arguments)
    if origin is tuple and ... not in arguments:
        return f"a list of exactly {len(arguments)} ({', '.join(describe(one) for one in arguments)})"
    if isinstance(origin, type) and (issubclass(origin, tuple | list) or origin is Sequence):
        return f"a list, each item {describe(arguments[0])}"
    return KINDS.get(hint, getattr(origin or hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    """A value as YAML writes it: `null`, `true`; text stands in quotes."""
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


def _allows_items(kind: type[Any], arguments: tuple[Any, ...], items: Sequence[Any]) -> bool:
    if not arguments:
        return True
    if issubclass(kind, tuple) and ... not in arguments:
        return len(items) == len(arguments) and all(map(allows, arguments, items))
    return all(allows(arguments[0], item) for item in items)


def _hint(hint: Any, value: Any) -> str:
    """A hint to append to the error: the nearest of a closed set of values, or how YAML writes a number."""
    if not isinstance(value, str):
        return ""
    words = [one for one in _literals(hint) if isinstance(one, str)]
    if near := nearest(value, words):
        return f" Did you mean '{near}'?"
    try:
        float(value)
    except ValueError:
        return ""
    dot = " and with a dot before the exponent, as in 1.0e-4" if "e" in value.lower() else ""
    return f" This is text: write the number without quotes{dot}."


def _literals(hint: Any) -> list[Any]:
    hint = getattr(hint, "__value__", hint)
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return list(arguments)
    return [one for argument in arguments for one in _literals(argument)]


def _hints(method: str, kind: type[Any]) -> Mapping[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError as error:
        raise UsageError(
            f"{method}: the types of {kind.__name__} cannot be read ({error}); import them outside TYPE_CHECKING, at "
            "the top of their module."
        ) from error


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _immutable(value: Any) -> Any:
    return tuple(_immutable(item) for item in value) if isinstance(value, list | tuple) else value
