"""Images written, and the hash that tells copies of a photograph."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels.errors import ImageError


def write_image(path: Path, image: NDArray[np.uint8], quality: int = 95) -> None:
    """Write (H, W, 3) RGB or (H, W) grey in the format its suffix names; a quality applies to JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in {".jpg", ".jpeg"} else []
    done, data = cv2.imencode(path.suffix, stored, options)
    if not done:
        raise ImageError(f"cannot encode as {path.suffix}")
    path.write_bytes(data.tobytes())


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """A hash of shape and pixels: copies of a photograph share it whatever their files are called."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
