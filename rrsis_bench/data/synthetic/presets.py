"""The sizes that the generator draws, and what a generated folder is called.

| preset | side | train | val | test expressions |
|---|---|---|---|---|
| tiny | 128 px | 2,000 | 200 | 400 |
| small | 256 px | 8,000 | 500 | 1,000 |
| tiny-generalised | 128 px | 2,000 | 200 | 400 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rrsis_bench.errors import UsageError, did_you_mean

VERSION = 1
"""Raised whenever the same preset and seed would give other scenes or expressions."""


@dataclass(frozen=True)
class Preset:
    """Size of a synthetic data set.

    Attributes:
        side: height and width of the images in pixels.
        counts: expressions of each split.
        generalised: whether expressions may fit nothing or several objects.
    """

    side: int
    counts: Mapping[str, int]
    generalised: bool = False


PRESETS: dict[str, Preset] = {
    "tiny": Preset(128, {"train": 2000, "val": 200, "test": 400}),
    "small": Preset(256, {"train": 8000, "val": 500, "test": 1000}),
    "tiny-generalised": Preset(128, {"train": 2000, "val": 200, "test": 400}, generalised=True),
}


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UsageError: there is none; the message lists the known names.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown synthetic preset '{name}'.{did_you_mean(name, list(PRESETS))}")
    return PRESETS[name]


def folder_name(preset: str, seed: int | None = None, layout: str = "rrsisd") -> str:
    """Name of the cache folder of a generated data set; it differs wherever the content does."""
    return f"{preset}-{layout}-seed{seed or 0}-v{VERSION}"
