"""A method's options from a configuration file: names and values are checked against the fields of its dataclass.

The type of a field is the one place that says what its option may be. A closed set of values is a `Literal`.
"""

from __future__ import annotations

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
"""Types of single values, and how messages call them."""


def build_options(method: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A method's options from plain values.

    Args:
        method: the method's name, for messages.
        kind: dataclass of the options.
        values: option -> value, as a configuration file gives them. Lists become tuples, since options are immutable.

    Returns:
        an instance of `kind`.

    Raises:
        UsageError: an option that `kind` lacks, a value that the field's type does not allow, or no value for a field
            without a default.
    """
    known = {field.name: field for field in fields(kind) if field.init}
    hints = _hints(method, kind)
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{method} has no option '{name}'.{did_you_mean(name, list(known))}")
        if not allows(hints[name], value):
            raise UsageError(
                f"{method}: option '{name}' must be {describe(hints[name])}, not {value!r}.{_hint(hints[name], value)}"
            )
    for name, field in known.items():
        if name not in values and _is_required(field):
            raise UsageError(f"{method}: option '{name}' has no default; set it to {describe(hints[name])}.")
    return kind(**{name: _immutable(value) for name, value in values.items()})


def allows(hint: Any, value: Any) -> bool:
    """Whether a field of a type may hold a value.

    A whole number is also a number; true and false are neither. A list serves for a tuple.

    Args:
        hint: type of the field. It may be a `Literal`, a union, a tuple or another sequence of these; what is no class
            (such as `Any`) allows every value.
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
    """What a field of a type may hold, in words: "one of bce, bce-dice" or "a whole number or null"."""
    hint = getattr(hint, "__value__", hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in arguments)
    if origin in (Union, UnionType):
        return " or ".join(describe(one) for one in arguments)
    if origin is tuple and ... not in arguments:
        return f"a list of exactly {len(arguments)} ({', '.join(describe(one) for one in arguments)})"
    if isinstance(origin, type) and (issubclass(origin, tuple | list) or origin is Sequence):
        return f"a list, each item {describe(arguments[0])}"
    return KINDS.get(hint, getattr(origin or hint, "__name__", str(hint)))


def _allows_items(kind: type[Any], arguments: tuple[Any, ...], items: Sequence[Any]) -> bool:
    if not arguments:
        return True
    if issubclass(kind, tuple) and ... not in arguments:
        return len(items) == len(arguments) and all(map(allows, arguments, items))
    return all(allows(arguments[0], item) for item in items)


def _hint(hint: Any, value: Any) -> str:
    """The nearest of a closed set of values, or how YAML wants a number."""
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
