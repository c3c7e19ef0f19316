"""Files that are decoded without rasterio: PNG, JPEG and the like by OpenCV, plain 8-bit TIFF by Pillow.

OpenCV reads a damaged TIFF without a word; Pillow refuses it.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.errors import DAMAGED, ImageError
from rrsis_bench.data.pixels.header import Header

_IN_ORDER = hasattr(cv2, "IMREAD_COLOR_RGB")  # older releases of OpenCV give blue first
_COLOUR = cv2.IMREAD_COLOR_RGB if _IN_ORDER else cv2.IMREAD_COLOR
_COLOUR |= cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_TAIL = 512  # where the end of a file without anything after it is looked for first

# A file that cannot be decoded is reported by us, with its name; OpenCV's own complaint has none.
_SILENT = 0
(cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2).setLogLevel(_SILENT)  # it moved in OpenCV 5


def decode_rgb(stream: BinaryIO, header: Header) -> NDArray[Any]:
    """The colours of a plain file.

    Args:
        stream: the file.
        header: what `read_header` said of it.

    Returns:
        (H, W, 3) RGB of the file's own depth: grey three times, palettes as colours, without alpha.

    Raises:
        ImageError: damaged or truncated.
    """
    if header.format == "TIFF":
        stored = _pillow(stream)
        image: NDArray[Any] = stored if stored.ndim == 3 else cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB)
    else:
        image = _opencv(stream, header, _COLOUR)
        image = image if _IN_ORDER else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image


def decode_channels(stream: BinaryIO, header: Header) -> NDArray[Any]:
    """What a plain file stores: (H, W), (H, W, 3), or (H, W, 4) with alpha last. Raises as `decode_rgb`."""
    if header.format == "TIFF":
        return _pillow(stream)
    return _opencv(stream, header, cv2.IMREAD_UNCHANGED)


def _pillow(stream: BinaryIO) -> NDArray[np.uint8]:
    from PIL.TiffImagePlugin import TiffImageFile

    stream.seek(0)
    try:
        # Not `Image.open`, whose limit on sizes is not ours.
        return np.array(TiffImageFile(stream), dtype=np.uint8)
    except Exception as error:  # Pillow's parsers raise whatever a damaged file brings them to.
        raise ImageError(DAMAGED) from error


def _opencv(stream: BinaryIO, header: Header, flags: int) -> NDArray[Any]:
    stream.seek(0)
    data = stream.read()
    # Some decoders fill the rest of a truncated file with grey or black and say nothing. What follows a file's end, as
    # cameras write it, is no fault.
    if header.format == "PNG":
        whole = _holds(data, _PNG_END, 0)
    elif header.format == "JPEG":
        whole = _holds(data, _JPEG_END, header.scan)
    else:
        whole = True
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if whole else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(DAMAGED)
    decoded: NDArray[Any] = image
    return decoded


def _holds(data: bytes, end: bytes, start: int) -> bool:
    """Whether a file's end stands in it; within a JPEG's scans the two bytes of its end cannot stand otherwise."""
    return data.find(end, max(start, len(data) - _TAIL)) >= 0 or data.find(end, start) >= 0
