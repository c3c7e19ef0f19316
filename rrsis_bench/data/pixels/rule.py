"""How a file's numbers become 8-bit RGB where the file alone does not say: which bands, and which range of values.

One rule serves all verbs. A data set states it (`data.pixels`), its manifest keeps what mattered for each image, and a
run's configuration hands it on to `predict`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UsageError, did_you_mean

_PERCENTILES = re.compile(r"percentiles-(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
_MOST_PIXELS = 1 << 22
"""Percentiles are taken over at most so many pixels, evenly spaced."""


@dataclass(frozen=True)
class Stretch:
    """The range of an image deeper than 8 bits that becomes 0 to 255; values outside are clipped.

    Attributes:
        low: what becomes 0.
        high: what becomes 255.
        of: whether both are the file's values, or percentiles of the image's own values, its three bands together.
    """

    low: float = 2.0
    high: float = 98.0
    of: Literal["values", "percentiles"] = "percentiles"

    @classmethod
    def from_config(cls, value: Any) -> Stretch:
        """From `[low, high]` or `percentiles-LOW-HIGH`.

        Raises:
            UsageError: neither, or an empty range.
        """
        if isinstance(value, str) and (found := _PERCENTILES.fullmatch(value)):
            low, high = float(found[1]), float(found[2])
            if low < high <= 100:
                return cls(low, high)
        elif _is_range(value):
            return cls(float(value[0]), float(value[1]), "values")
        raise UsageError(
            f"pixels.stretch must be two values that become black and white, such as [0, 2047], or "
            f"percentiles of each image, such as percentiles-2-98, not {value!r}."
        )

    def to_config(self) -> Any:
        """What `from_config` reads."""
        if self.of == "percentiles":
            return f"percentiles-{self.low:g}-{self.high:g}"
        return [int(value) if value.is_integer() else value for value in (self.low, self.high)]

    def apply(
        self, values: NDArray[Any], limits: tuple[float, float], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Values of any number type as 8 bits.

        Args:
            values: (H, W, C).
            limits: the values that become 0 and 255.
            valid: (H, W); False where there is no data. None for data everywhere.

        Returns:
            (H, W, C); black where there is no data, or a value is not finite.
        """
        low, high = limits
        exact = np.dtype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
        finite = np.isfinite(values)
        scaled = (np.where(finite, values, 0).astype(exact) - low) * (255 / max(high - low, 1e-12))
        shown: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        shown[~finite] = 0
        if valid is not None:
            shown[~valid] = 0
        return shown


@dataclass(frozen=True)
class PixelRule:
    """What a data set or a command states about pixels.

    Attributes:
        bands: the bands that are red, green and blue, from 1; None for what the file says.
        stretch: of images deeper than 8 bits.
    """

    bands: tuple[int, int, int] | None = None
    stretch: Stretch = Stretch()

    @classmethod
    def from_config(cls, values: Mapping[str, Any] | None) -> PixelRule:
        """From `{bands: [R, G, B], stretch: ...}`, each optional.

        Raises:
            UsageError: an unknown key, or a value that makes no sense.
        """
        given = {key: value for key, value in dict(values or {}).items() if value is not None}
        for key in given:
            if key not in ("bands", "stretch"):
                raise UsageError(f"unknown key 'pixels.{key}'.{did_you_mean(str(key), ['bands', 'stretch'])}")
        rule = cls()
        if "bands" in given:
            rule = replace(rule, bands=_bands(given["bands"]))
        if "stretch" in given:
            rule = replace(rule, stretch=Stretch.from_config(given["stretch"]))
        return rule

    def with_words(self, bands: str | None, stretch: str | None) -> PixelRule:
        """This rule with what the flags `--bands R,G,B` and `--stretch LOW,HIGH` state.

        Raises:
            UsageError: a flag's value makes no sense.
        """
        rule = self
        if bands is not None:
            words = bands.replace(" ", "").split(",")
            rule = replace(rule, bands=_bands([int(word) if word.isdecimal() else word for word in words]))
        if stretch is not None:
            parts = stretch.replace(" ", "").split(",")
            try:
                value: Any = stretch if len(parts) == 1 else [float(part) for part in parts]
            except ValueError:
                value = stretch
            rule = replace(rule, stretch=Stretch.from_config(value))
        return rule

    def to_config(self, bands: bool = True, stretch: bool = True) -> dict[str, Any]:
        """The parts asked for, as `from_config` reads them."""
        stated: dict[str, Any] = {}
        if bands and self.bands is not None:
            stated["bands"] = list(self.bands)
        if stretch:
            stated["stretch"] = self.stretch.to_config()
        return stated


def spacing(height: int, width: int) -> int:
    """Every how many rows and columns a pixel is taken for the percentiles."""
    return max(1, int(np.ceil(np.sqrt(height * width / _MOST_PIXELS))))


def percentiles(stretch: Stretch, values: NDArray[Any]) -> tuple[float, float]:
    """The values at a stretch's percentiles.

    Args:
        stretch: one of percentiles.
        values: those that count, in any shape; what is not finite is left out.

    Returns:
        the two values; (0, 1) where there is none.
    """
    counted = values[np.isfinite(values)]
    if not counted.size:
        return 0.0, 1.0
    low, high = np.percentile(counted, (stretch.low, stretch.high))
    return float(low), float(high)


def _bands(value: Any) -> tuple[int, int, int]:
    if isinstance(value, list | tuple) and len(value) == 3 and all(type(one) is int and one > 0 for one in value):
        return value[0], value[1], value[2]
    shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
    raise UsageError(f"bands {shown}: give three numbers from 1 for red, green and blue, such as --bands 4,3,2.")


def _is_range(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) and np.isfinite(one) for one in value)
    return numbers and bool(value[0] < value[1])
