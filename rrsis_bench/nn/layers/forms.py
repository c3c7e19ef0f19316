"""Which form of a computation runs: the published one, or an equal one where it was measured to be faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FAST_ON = {"cpu"}
"""Kinds of device on which the equal forms were measured to be faster. All others run the published ones."""


def fast_on(device: torch.device) -> bool:
    """Whether a device runs the equal forms."""
    return device.type in _FAST_ON


@contextmanager
def as_published() -> Iterator[None]:
    """Run the published forms on every device. Published GFLOPs count them."""
    before = set(_FAST_ON)
    _FAST_ON.clear()
    try:
        yield
    finally:
        _FAST_ON.update(before)
