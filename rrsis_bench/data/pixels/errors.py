"""What can be wrong with an image file. The messages say why; the caller adds which file, and what to do about it."""

from __future__ import annotations

DAMAGED = "file is damaged, truncated or no image"


class ImageError(ValueError):
    """An image that cannot be read."""


class MissingImageError(ImageError):
    """There is no such file."""

    def __init__(self) -> None:
        super().__init__("file is missing")


class RefusedImageError(ImageError):
    """A whole file that is not read as it stands; the message says what to state, to install or to convert."""
