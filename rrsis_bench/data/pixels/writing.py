"""Images written, and the hash that tells copies of a photograph."""

from __future__ import annotations

import hashlib
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


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """A hash of shape and pixels: copies of a photograph share it whatever their files are called."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
