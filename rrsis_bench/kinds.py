"""What a value of a configuration or a flag may be, in words for messages and as a check. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    Attributes:
        words: how messages describe the value.
        fits: says whether a value is allowed.
        keys: the only keys that a mapping may have; empty if the value is no mapping, or may have any key.
        item: what the values of a mapping may be; None for anything.
    """

    words: str
    fits: Callable[[Any], bool]
    keys: tuple[str, ...] = ()
    item: Kind | None = None

    def __or__(self, other: Kind) -> Kind:
        return Kind(
            f"{self.words} or {other.words}",
            lambda value: self.fits(value) or other.fits(value),
            self.keys or other.keys,
            self.item or other.item,
        )


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number within bounds, both included."""
    words = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    return Kind(words, lambda value: is_whole(value) and value >= least and (most is None or value <= most))


def number(least: float, most: float | None = None) -> Kind:
    """A number within bounds, both included."""
    words = f"a number of at least {least:g}" if most is None else f"a number from {least:g} to {most:g}"
    return Kind(words, lambda value: is_number(value) and value >= least and (most is None or value <= most))


def above(bound: float, most: float | None = None) -> Kind:
    """A number above a bound, up to another one."""
    words = f"a number above {bound:g}" + ("" if most is None else f" and up to {most:g}")
    return Kind(words, lambda value: is_number(value) and value > bound and (most is None or value <= most))


def one_of(*known: Any) -> Kind:
    """One of a few values."""
    words = ", ".join(dict.fromkeys(str(value) for value in known))
    return Kind(
        words if len(known) == 1 else f"one of {words}",
        lambda value: any(type(value) is type(one) and value == one for one in known),
    )


def only(value: Any, because: str) -> Kind:
    """One value, and why the suite needs that one; nothing at all is right, too."""
    return Kind(f"{shown(value)}: {because}", lambda given: given is None or given is value)


def listed(item: Kind, length: int | None = None) -> Kind:
    """A list of things."""
    return Kind(
        f"a list{'' if length is None else f' of {length}'}, each item {item.words}",
        lambda value: (
            isinstance(value, list | tuple) and length in (None, len(value)) and all(item.fits(one) for one in value)
        ),
    )


def mapped(*keys: str, item: Kind | None = None) -> Kind:
    """A mapping from some keys, or from any where none is given."""
    names = f" of {', '.join(keys)}" if keys else ""
    return Kind(
        f"a mapping{names}" + ("" if item is None else f", each value {item.words}"),
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(key, str) and (not keys or key in keys) for key in value)
            and (item is None or all(item.fits(one) for one in value.values()))
        ),
        keys,
        item,
    )


def shown(value: Any) -> str:
    """A value as messages show it: as in a configuration file, with text in quotes."""
    if isinstance(value, str):
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False, default=str)


NULL = Kind("null", lambda value: value is None)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("text", lambda value: isinstance(value, str) and bool(value.strip()))
SEED = whole(0, 2**32 - 1)
"""What numpy takes as a seed."""
