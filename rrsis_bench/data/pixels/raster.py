"""Rasters by rasterio (extra `geo`): any number type, bands by what the file says of them, read by windows.

Shape legend: `H W` pixels of the image, `h w` pixels of a window, `C` bands.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.damage import refused_warnings
from rrsis_bench.data.pixels.errors import DAMAGED, ImageError, RefusedImageError
from rrsis_bench.data.pixels.reader import Note, Window, refuse_large
from rrsis_bench.data.pixels.rule import PixelRule, percentiles, spacing
from rrsis_bench.data.tables import open_stored

COLOURS = ("red", "green", "blue")
_CACHE_MB = 128  # GDAL's own default is a twentieth of the machine's memory
_STRIP_BYTES = 1 << 26  # read at once where a whole image is gone through
_UNNAMED = re.compile(r"(band|layer|channel)?[ _]*\d*", re.IGNORECASE)
"""Descriptions of bands that say nothing of colour."""


def have_rasterio() -> bool:
    """Whether the extra `geo` is installed."""
    return find_spec("rasterio") is not None


def open_dataset(path: Path, what: str) -> Any:
    """A file opened by rasterio.

    Args:
        path: the file.
        what: what it is, for messages.

    Raises:
        RefusedImageError: the extra is not installed.
        ImageError: rasterio cannot open the file.
    """
    if not have_rasterio():
        raise RefusedImageError(f"{what} needs rasterio: pip install 'rrsis-bench[geo]'")
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            if "GDAL_CACHEMAX" not in os.environ:
                # GDAL asks for it at the first pixel that is read; an `Env` around the opening would be left by then.
                rasterio.env.set_gdal_config("GDAL_CACHEMAX", _CACHE_MB << 20)  # of a number, rasterio counts bytes
            with open_stored(path) as file:
                return rasterio.open(file if isinstance(file, BytesIO) else path)
        except (rasterio.errors.RasterioError, OSError) as error:
            raise ImageError(DAMAGED) from error


class RasterReader:
    """An image that rasterio reads by windows; see `reader.ImageReader`."""

    def __init__(self, path: Path, what: str, rule: PixelRule, notes: tuple[Note, ...] = ()) -> None:
        """Open a file and settle which bands are its colours.

        Args:
            path: the file.
            what: what it is, for messages.
            rule: what was stated.
            notes: what its header calls for.

        Raises:
            RefusedImageError: the extra is missing, the file does not say which bands are its colours, or it holds
                numbers that are no picture.
            ImageError: rasterio cannot open it.
        """
        self._dataset = open_dataset(path, what)
        try:
            self.height, self.width = int(self._dataset.height), int(self._dataset.width)
            self._bands, unstated = _choose(self._dataset, rule.bands)
            self._palette = None if rule.bands else colour_table(self._dataset, self._bands)
            self._dtype = _one_type(self._dataset, self._bands)
        except BaseException:
            self._dataset.close()
            raise
        self._rule = rule
        self._deep = self._palette is None and self._dtype != np.uint8
        self._range: tuple[float, float] | None = None
        self.applied: Mapping[str, Any] = rule.to_config(bands=rule.bands is not None, stretch=self._deep)
        said = list(notes)
        if unstated:
            said.append(
                Note("unstated-bands", "the file does not say which bands are its colours; 1, 2, 3 are taken as RGB")
            )
        if self._deep:
            said.append(deep_note(self._dtype, rule))
        self.notes = tuple(said)

    def read(self, window: Window | None = None) -> NDArray[np.uint8]:
        """A window of the image, or the whole; see `reader.ImageReader.read`."""
        if window is None:
            refuse_large(self.height, self.width, "cut it into tiles")
        top, left, height, width = window or (0, 0, self.height, self.width)
        values = self._values(top, left, height, width)
        if not self._deep:
            return values
        valid = self._valid(top, left, height, width)
        if self._range is None and window is None:
            step = spacing(self.height, self.width)
            kept = None if valid is None else valid[::step, ::step]
            self._range = self._limits(_counted(values[::step, ::step], kept))
        return self._rule.stretch.apply(values, self._whole_range(), valid)

    def reduced(self, height: int, width: int) -> NDArray[np.uint8]:
        """The whole image, averaged down to (height, width, 3) uint8, without ever holding it."""
        from rasterio.enums import Resampling

        method = Resampling.nearest if self._palette is not None else Resampling.average
        values = self._picture(self._read(out_shape=(len(self._bands), height, width), resampling=method))
        return self._rule.stretch.apply(values, self._whole_range()) if self._deep else values

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> RasterReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _values(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        return self._picture(self._read(window=_window(top, left, height, width)))

    def _read(self, **how: Any) -> NDArray[Any]:
        """Bands (C, h, w) as stored, a colour that stands for all three once."""
        return read_bands(self._dataset, self._bands, **how)

    def _picture(self, bands: NDArray[Any]) -> NDArray[Any]:
        """(h, w, 3) of a window's bands (C, h, w)."""
        if self._palette is not None:
            colours: NDArray[Any] = self._palette[bands[0]]
            return colours
        return np.ascontiguousarray(np.broadcast_to(bands.transpose(1, 2, 0), (*bands.shape[1:], 3)))

    def _valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        return valid_pixels(self._dataset, self._bands, window=_window(top, left, height, width))

    def _limits(self, counted: NDArray[Any]) -> tuple[float, float]:
        stretch = self._rule.stretch
        return (stretch.low, stretch.high) if stretch.of == "values" else percentiles(stretch, counted)

    def _whole_range(self) -> tuple[float, float]:
        """The values that become black and white; percentiles are those of the whole image, read strip by strip."""
        if self._range is None:
            parts: list[NDArray[Any]] = []
            if self._rule.stretch.of == "percentiles":
                step = spacing(self.height, self.width)
                rows = max(1, _STRIP_BYTES // (self.width * len(self._bands) * self._dtype.itemsize))
                for top in range(0, self.height, rows):
                    height = min(rows, self.height - top)
                    kept = slice(-top % step, None, step)
                    valid = self._valid(top, 0, height, self.width)
                    values = self._values(top, 0, height, self.width)[kept, ::step]
                    parts.append(_counted(values, None if valid is None else valid[kept, ::step]))
            self._range = self._limits(np.concatenate(parts) if parts else np.empty(0))
        return self._range


def read_bands(dataset: Any, bands: tuple[int, ...], **how: Any) -> NDArray[Any]:
    """Bands of a dataset (C, h, w), black as 0 and 8-bit grey of fewer bits spread over all 8.

    Args:
        dataset: opened by rasterio.
        bands: from 1.
        how: arguments of its `read`.

    Raises:
        ImageError: damaged.
    """
    import rasterio

    try:
        with refused_warnings("rasterio"):
            values: NDArray[Any] = dataset.read(list(bands), **how)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise ImageError(DAMAGED) from error
    if is_palette(dataset, bands) or not np.issubdtype(values.dtype, np.unsignedinteger):
        return values
    bits = int(dataset.tags(bands[0], ns="IMAGE_STRUCTURE").get("NBITS", 8 * values.dtype.itemsize))
    if dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES":
        values = values.dtype.type((1 << bits) - 1) - values
    if bits < 8:
        values = (values.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)
    return values


def valid_pixels(dataset: Any, bands: tuple[int, ...], **how: Any) -> NDArray[np.bool_] | None:
    """(h, w): True where one of the bands at least has data; None where the file says nothing of the kind.

    Raises:
        ImageError: damaged.
    """
    import rasterio
    from rasterio.enums import MaskFlags

    if all(MaskFlags.all_valid in dataset.mask_flag_enums[band - 1] for band in bands):
        return None
    try:
        masks = dataset.read_masks(list(bands), **how)
    except (rasterio.errors.RasterioError, OSError) as error:
        raise ImageError(DAMAGED) from error
    valid: NDArray[np.bool_] = (masks != 0).any(axis=0)
    return valid


def is_palette(dataset: Any, bands: tuple[int, ...]) -> bool:
    """Whether the numbers of a band stand for the colours of a table."""
    return len(bands) == 1 and _interpretations(dataset)[bands[0] - 1] == "palette"


def colour_table(dataset: Any, bands: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The colours (N, 3) that a band's numbers stand for; None where they are no palette."""
    if not is_palette(dataset, bands):
        return None
    colours = np.zeros((1 << (8 * np.dtype(dataset.dtypes[bands[0] - 1]).itemsize), 3), np.uint8)
    for index, colour in dataset.colormap(bands[0]).items():
        colours[index] = colour[:3]
    return colours


def alpha_bands(dataset: Any) -> tuple[int, ...]:
    """The bands, from 1, that hold transparency."""
    return tuple(number for number, name in enumerate(_interpretations(dataset), 1) if name == "alpha")


def deep_note(dtype: Any, rule: PixelRule) -> Note:
    """What is said of an image deeper than 8 bits."""
    stretch = rule.stretch
    done = f"values of type {dtype} were stretched to 8 bits"
    if stretch.of == "values":
        return Note("", f"{done} from {stretch.low:g} to {stretch.high:g}")
    return Note(
        "unstated-range",
        f"{done} between the image's own percentiles {stretch.low:g} and {stretch.high:g}; state a range to treat all "
        "images alike (data.pixels.stretch=[LOW, HIGH], predict: --stretch LOW,HIGH)",
    )


def _choose(dataset: Any, stated: tuple[int, int, int] | None) -> tuple[tuple[int, ...], bool]:
    """The bands that are red, green and blue (one for grey), and whether that is only the usual order."""
    count = int(dataset.count)
    if stated is not None:
        if max(stated) > count:
            raise RefusedImageError(
                f"file has {count} band{'s' * (count > 1)}, so it has no bands {','.join(map(str, stated))}; "
                "state others (data.pixels.bands=[R, G, B], predict: --bands R,G,B)"
            )
        return stated, False
    names = [
        _colour(interpretation, description)
        for interpretation, description in zip(_interpretations(dataset), dataset.descriptions, strict=True)
    ]
    if all(colour in names for colour in COLOURS):
        return tuple(names.index(colour) + 1 for colour in COLOURS), False
    others = [number for number, name in enumerate(names, 1) if name != "alpha"]
    called = [names[number - 1] for number in others]
    if len(others) == 1:
        return (others[0],), False
    if called in (["", "", ""], ["", "", "", ""], ["", "", "", "nir"]):
        return tuple(others[:3]), True
    listed = f" ({', '.join(name or 'unnamed' for name in called[:8])}{', ...' * (len(called) > 8)})" * any(called)
    raise RefusedImageError(
        f"file has {len(others)} bands{listed} and does not say which are red, green and blue; state them "
        "(data.pixels.bands=[R, G, B], predict: --bands R,G,B)"
    )


def _interpretations(dataset: Any) -> list[str]:
    try:
        return [interpretation.name for interpretation in dataset.colorinterp]
    except ValueError:  # one that this rasterio has no name for
        return ["undefined"] * dataset.count


def _colour(interpretation: str, description: str | None) -> str:
    """What a band says it is: its colour interpretation, else its description; "" for neither."""
    if interpretation not in {"undefined", "gray"}:
        return interpretation
    said = (description or "").strip().lower()
    return "" if _UNNAMED.fullmatch(said) else said


def _one_type(dataset: Any, bands: tuple[int, ...]) -> np.dtype[Any]:
    types = {dataset.dtypes[band - 1] for band in bands}
    if any("complex" in name for name in types):
        raise RefusedImageError(f"numbers of type {', '.join(sorted(types))} are no picture; convert it")
    return np.result_type(*(np.dtype(name) for name in types))


def _counted(values: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[Any]:
    return (values if valid is None else values[valid]).reshape(-1)


def _window(top: int, left: int, height: int, width: int) -> Any:
    from rasterio.windows import Window

    return Window(left, top, width, height)
