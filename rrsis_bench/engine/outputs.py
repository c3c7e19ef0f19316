"""The files of a prediction: their names, which no two inputs share, and what stands in them."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels import ImageReader
from rrsis_bench.data.text import normalise_text
from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.engine.geo import GeoImage, map_files
from rrsis_bench.engine.load import TrainedMethod
from rrsis_bench.engine.overlay import draw_overlay, enlarged
from rrsis_bench.errors import UsageError
from rrsis_bench.files import json_text, write_together

if TYPE_CHECKING:
    from rrsis_bench.engine.bitmask import Prediction

OVERLAY_LIMIT = 4096  # longest side of the overlay in pixels; the mask keeps the image's own size
SUFFIXES = ("_mask.png", "_overlay.png", ".json", "_mask.tif", ".geojson")
_LETTERS, _BYTES = 40, 80  # of a readable part; file systems take 255 bytes in all


@dataclass(frozen=True)
class Destination:
    """Where a prediction is written.

    Attributes:
        stem: path to which the suffixes are added.
    """

    stem: Path

    @classmethod
    def of(cls, folder: Path, image: Path, text: str) -> Destination:
        """The destination of an image and an expression: readable parts of both, and a hash of both.

        Args:
            folder: to write to.
            image: the image's file; files of one name in two folders differ in the hash.
            text: the expression.
        """
        whole = f"{image.resolve()}\0{normalise_text(text)}".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(whole).hexdigest()[:8]
        return cls(folder / f"{_readable(image.stem, 'image')}_{_readable(text.lower(), 'text')}_{digest}")

    def file(self, suffix: str) -> Path:
        """The file of a suffix."""
        return self.stem.with_name(self.stem.name + suffix)

    def refuse_present(self) -> None:
        """Stop where an earlier prediction stands.

        Raises:
            UsageError: one of its files is there.
        """
        for suffix in SUFFIXES:
            if self.file(suffix).exists():
                raise UsageError(
                    f"{self.file(suffix)} is there already: --overwrite replaces it, another --out keeps both."
                )


def write_prediction(
    destination: Destination,
    source: Path,
    image: ImageReader,
    place: GeoImage | None,
    text: str,
    found: Prediction,
    run: TrainedMethod,
) -> tuple[Path, ...]:
    """Write mask, overlay and RLE, and for a georeferenced image the mask on the map and its polygons.

    Files of an earlier prediction that this one does not have are removed.

    Args:
        destination: where to.
        source: the image's file.
        image: open.
        place: of the image; None for an ordinary one.
        text: the expression.
        found: the prediction.
        run: the trained method.

    Returns:
        the files written.

    Raises:
        UserError: one cannot be written.
        ImageError: the image is damaged.
    """
    mask, model = found.bits, run.config["model"]
    rle = mask.rle()
    facts = {
        "image": str(source),
        "height": mask.height,
        "width": mask.width,
        "pixels": dict(image.applied),
        "text": text,
        "rle": None if rle is None else dict(rle),
        "area": mask.area,
        "empty": mask.area == 0,
        "mean_probability": found.mean_probability,
        "threshold": found.threshold,
        "tiles": found.tiles,
        "text_truncated": found.truncated,
        "method": {
            "name": model["method"],
            "variant": model["variant"],
            "checkpoint": None if run.checkpoint is None else str(run.checkpoint),
        },
    }
    outputs = {"_mask.png": mask.png(), "_overlay.png": _png(_overlay(image, mask, text))}
    if place is not None:
        outputs |= map_files(mask, place, {"text": text, "method": f"{model['method']}@{model['variant']}"})
    contents: dict[str, bytes | str] = {**outputs, ".json": json_text(facts)}
    files = {destination.file(suffix): contents[suffix] for suffix in SUFFIXES if suffix in contents}
    write_together(files)
    for suffix in SUFFIXES:
        if suffix not in contents:
            destination.file(suffix).unlink(missing_ok=True)
    return tuple(files)


def _readable(name: str, otherwise: str) -> str:
    """Letters and digits of any script, what lies between as one hyphen, cut to a length that file systems take."""
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", name))[:_LETTERS]
    cut = words.encode("utf-8", "ignore")[:_BYTES].decode("utf-8", "ignore").strip("-")
    return cut or otherwise


def _overlay(image: ImageReader, mask: BitMask, text: str) -> NDArray[np.uint8]:
    """The overlay at a size that people look at: small images enlarged, huge ones reduced."""
    longest = max(mask.height, mask.width)
    if longest <= OVERLAY_LIMIT:
        return draw_overlay(*enlarged(image.read(), mask.array()), text)
    height, width = (max(1, round(side * OVERLAY_LIMIT / longest)) for side in (mask.height, mask.width))
    # A share of the area keeps an object that would fall between the nearest pixels.
    return draw_overlay(image.reduced(height, width), mask.reduced(height, width, 0.25), text)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
