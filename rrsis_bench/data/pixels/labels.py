"""Mask files: which pixels are foreground, whatever the file's depth and colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.damage import check_deflate
from rrsis_bench.data.pixels.errors import RefusedImageError
from rrsis_bench.data.pixels.opening import decoded_whole, opened
from rrsis_bench.data.pixels.plain import decode_channels
from rrsis_bench.data.pixels.raster import alpha_bands, colour_table, open_dataset, read_bands, valid_pixels
from rrsis_bench.data.pixels.reader import refuse_large


def read_labels(path: Path) -> NDArray[Any]:
    """The numbers of a mask file.

    A palette gives its colours. An alpha channel must be opaque everywhere, and is dropped. Floating-point numbers
    must be whole. Pixels that a TIFF declares without data become 0.

    Args:
        path: the file.

    Returns:
        (H, W), or (H, W, C) where there are several channels; integers of the file's own depth.

    Raises:
        ImageError: missing, damaged, too large, partly transparent, or its numbers are not whole.
    """
    with opened(path) as (stream, header):
        refuse_large(header.height, header.width, "cut it, and its image, into tiles")
        check_deflate(stream, header)
        if decoded_whole(header) and not header.nodata:
            return _whole(_opaque(decode_channels(stream, header)))
    return _whole(_raster(path, header.description or "TIFF that declares pixels without data"))


def foreground(labels: NDArray[Any], threshold: int = 0) -> NDArray[np.bool_]:
    """Where a mask is: any channel differs from 0, or is above a threshold.

    Args:
        labels: (H, W) or (H, W, C) integers.
        threshold: what a pixel must exceed; 0 takes every number but 0, negative ones, too.

    Returns:
        (H, W).
    """
    marked: NDArray[np.bool_] = labels != 0 if threshold == 0 else labels > threshold
    if marked.ndim == 3:
        marked = np.logical_or.reduce(marked, axis=2)
    return marked


def _opaque(channels: NDArray[Any]) -> NDArray[Any]:
    """Channels (H, W, 4) without their alpha, if it hides nothing; others as they are."""
    if channels.ndim == 2 or channels.shape[2] != 4:
        return channels
    _refuse_transparent(channels[..., 3])
    return channels[..., :3]


def _refuse_transparent(alpha: NDArray[Any]) -> None:
    opaque = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1
    if (alpha != opaque).any():
        raise RefusedImageError("file has an alpha channel that is not opaque everywhere: save one channel")


def _raster(path: Path, what: str) -> NDArray[Any]:
    with open_dataset(path, what) as dataset:
        alpha = alpha_bands(dataset)
        for band in alpha:
            _refuse_transparent(read_bands(dataset, (band,))[0])
        bands = tuple(number for number in range(1, dataset.count + 1) if number not in alpha)
        labels = read_bands(dataset, bands).transpose(1, 2, 0)
        table = colour_table(dataset, bands)
        if table is not None:
            labels = table[labels[..., 0]]
        valid = None if alpha else valid_pixels(dataset, bands)
        return labels if valid is None else np.where(valid[..., None], labels, 0)


def _whole(labels: NDArray[Any]) -> NDArray[Any]:
    """Integers as they are, and whole floating-point numbers as integers.

    Raises:
        RefusedImageError: others.
    """
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[..., 0]
    if np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_:
        return labels
    if np.issubdtype(labels.dtype, np.complexfloating) or not (np.isfinite(labels) & (labels == np.rint(labels))).all():
        raise RefusedImageError(
            f"mask holds numbers of type {labels.dtype} that are not whole; apply a threshold and save 0 and 1"
        )
    return labels.astype(np.int64)
