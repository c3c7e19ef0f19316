"""Reading images: always three 8-bit channels, RGB, never turned by an orientation tag."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}
"""How files of a kind begin, and what stands near their end."""

# A file that cannot be decoded is reported by us, with its name; OpenCV's own complaint has none.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class ImageError(ValueError):
    """An image that cannot be read; the message says why, the caller adds which and what to do."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB; grey becomes three equal channels, alpha is dropped, 16 bits become 8.

    Raises:
        ImageError: missing or unreadable.
    """
    image = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    converted: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return converted


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A mask file as (H, W) uint8, whatever its channels.

    Raises:
        ImageError: missing or unreadable.
    """
    return _read(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def write_image(path: Path, image: NDArray[np.uint8], quality: int = 95) -> None:
    """Write an image of a made-up data set; see `encoded`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(path.suffix, image, quality))


def encoded(suffix: str, image: NDArray[np.uint8], quality: int = 95) -> bytes:
    """(H, W, 3) RGB or (H, W) grey in the format a suffix (`.png`) names; a quality applies to JPEG.

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


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, ValueError) as error:
        raise ImageError("file is missing") from error
    except OSError as error:
        raise ImageError(f"file cannot be read ({error.strerror})") from error
    # OpenCV fills the rest of a truncated file with grey or black and says nothing.
    ends = next((end for start, end in _ENDS.items() if data.startswith(start)), b"")
    if ends not in data[-512:]:
        raise ImageError("file is truncated or no image")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("file is truncated or no image")
    decoded: NDArray[np.uint8] = image
    return decoded
