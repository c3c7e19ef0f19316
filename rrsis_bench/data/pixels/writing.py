"""Images written, and the hash that tells copies of a photograph."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.errors import ImageError


def write_image(path: Path, image: NDArray[np.uint8], quality: int = 95) -> None:
    """Write an image of a made-up data set; see `encoded`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(path.suffix, image, quality))


def encoded(suffix: str, image: NDArray[np.uint8], quality: int = 95) -> bytes:
    """(H, W, 3) RGB or (H, W) grey in the format that a suffix (`.png`) names; a quality applies to JPEG.

    Raises:
        ImageError: OpenCV knows no format of that suffix.
    """
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix.lower() in {".jpg", ".jpeg"} else []
    try:
        done, data = cv2.imencode(suffix, stored, options)
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"no image format has the suffix '{suffix}'; use .png or .jpg")
    content: bytes = data.tobytes()
    return content


def grey_png(height: int, width: int, strips: Iterable[NDArray[np.uint8]]) -> bytes:
    """A PNG of one 8-bit channel that is never held in one piece.

    Args:
        height: H.
        width: W.
        strips: rows (h, W) from the top, H in all.
    """
    packer = zlib.compressobj()
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    for strip in strips:
        # Each row begins with the number of its filter: none.
        parts.append(_chunk(b"IDAT", packer.compress(np.pad(strip, ((0, 0), (1, 0))).tobytes())))
    return b"".join([*parts, _chunk(b"IDAT", packer.flush()), _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """A hash of shape and pixels: copies of a photograph share it whatever their files are called."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
