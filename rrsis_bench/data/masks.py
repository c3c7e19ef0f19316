"""Masks as COCO run-length encodings (RLE), which `decode` checks before it decodes them.

An RLE is `{"size": [h, w], "counts": str}`. `counts` holds the lengths of background and foreground runs in turn, down
the columns. Each length is written in base 32. From the fourth run on, `counts` stores the difference to the run two
before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Rle = dict[str, Any]


class MaskError(ValueError):
    """A mask that cannot be decoded; the message says why, the caller adds where."""


class MissingMaskError(MaskError):
    """There is no such mask file."""


def encode(mask: NDArray[Any]) -> Rle:
    """The compressed RLE of a mask (h, w); every non-zero pixel is foreground."""
    coded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode("ascii")}


def from_runs(height: int, width: int, lengths: NDArray[np.int64]) -> Rle:
    """The compressed RLE of run lengths, background first."""
    coded = coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    return {"size": [height, width], "counts": coded["counts"].decode("ascii")}


def runs(rle: Mapping[str, Any]) -> NDArray[np.int64]:
    """Run lengths of a compressed RLE, background first.

    Raises:
        MaskError: the size is not a pair of positive integers, or the string is not in the code. A run is negative, or
            the runs do not cover the mask exactly.
    """
    height, width = _size(rle)
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not isinstance(counts, str) or not counts:
        raise MaskError("RLE counts are empty or not a string")
    try:
        codes = np.frombuffer(counts.encode("latin-1"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise MaskError("RLE counts hold characters outside the code") from error
    if codes.min() < 0 or codes.max() > 63:
        raise MaskError("RLE counts hold characters outside the code")
    ends = np.flatnonzero(codes < 32)
    if ends.size == 0 or ends[-1] != codes.size - 1:
        raise MaskError("RLE counts end within a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    if digits.max() > 6:
        raise MaskError("RLE counts hold a number that is too long")
    values = np.add.reduceat((codes & 31) << (5 * digits), starts)
    values -= ((codes[ends] & 16) > 0) * (np.int64(1) << (5 * (digits[ends] + 1)))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0 or values.sum() != height * width:
        raise MaskError(
            f"RLE runs cover {int(values.sum())} pixels where its size {height}x{width} has {height * width}"
        )
    return values


def area(rle: Mapping[str, Any]) -> int:
    """Foreground pixels of an RLE, without decoding it.

    Raises:
        MaskError: as `runs`.
    """
    return int(runs(rle)[1::2].sum())


def decode(rle: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Mask (h, w) in {0, 1} of a compressed RLE.

    Raises:
        MaskError: as `runs`.
    """
    lengths = runs(rle)
    values = np.zeros(len(lengths), np.uint8)
    values[1::2] = 1
    # Runs fill columns. numpy repeats them four times as fast as pycocotools decodes.
    height, width = rle["size"]
    rows: NDArray[np.uint8] = cv2.transpose(np.repeat(values, lengths).reshape(width, height))
    return rows


def canonical(segmentation: Any, height: int, width: int) -> Rle:
    """One compressed RLE from any form an annotation file may hold; several parts become their union.

    Args:
        segmentation: a compressed RLE dict, an uncompressed one (`counts` a list), a list of either, a flat polygon
            `[x1, y1, ...]`, or a list of polygons.
        height: image height, used by polygons only.
        width: image width, used by polygons only.

    Raises:
        MaskError: none of these forms, or one that does not decode.
    """
    parts = [segmentation] if isinstance(segmentation, Mapping) else segmentation
    if not isinstance(parts, Sequence) or isinstance(parts, str | bytes) or not parts:
        raise MaskError("segmentation is empty or of no known form")
    if all(isinstance(value, int | float) for value in parts):
        parts = [parts]
    coded = [_part(part, height, width) for part in parts]
    if len({tuple(part["size"]) for part in coded}) > 1:
        raise MaskError("segmentation parts have different sizes")
    if len(coded) == 1:
        return coded[0]
    union = coco_mask.merge([{"size": part["size"], "counts": part["counts"].encode("ascii")} for part in coded])
    return {"size": coded[0]["size"], "counts": union["counts"].decode("ascii")}


def _part(part: Any, height: int, width: int) -> Rle:
    try:
        if isinstance(part, Mapping):
            if isinstance(part.get("counts"), list):
                rows, columns = _size(part)
                lengths = np.asarray(part["counts"], np.int64)
                if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != rows * columns:
                    raise MaskError(f"uncompressed RLE runs do not cover its size {rows}x{columns}")
                part = from_runs(rows, columns, lengths)
            counts = part.get("counts")
            text = counts.decode("latin-1") if isinstance(counts, bytes) else counts
            coded = {"size": list(_size(part)), "counts": text}
        else:
            corners = [float(value) for value in part]
            if len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
                raise MaskError("polygon has no three corners, or an odd number of coordinates")
            coded = encode(coco_mask.decode(coco_mask.frPyObjects([corners], height, width)[0]))
    except MaskError:
        raise
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise MaskError(f"segmentation part of no known form ({error})") from error
    runs(coded)
    return coded


def _size(rle: Mapping[str, Any]) -> tuple[int, int]:
    size = rle.get("size")
    if isinstance(size, list | tuple) and len(size) == 2:
        height, width = size
        integers = all(isinstance(side, int) and not isinstance(side, bool) for side in size)
        if integers and 0 < height <= 1 << 16 and 0 < width <= 1 << 16:
            return height, width
    raise MaskError(f"RLE size {size!r} is no pair of positive integers")
