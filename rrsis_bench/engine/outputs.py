"""The files of a prediction: their names, which no two inputs share, and what stands in them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.pixels import ImageReader
from rrsis_bench.data.text import normalise_text
from rrsis_bench.engine.bitmask import BitMask
from rrsis_bench.engine.geo import GeoImage, map_files
from rrsis_bench.engine.load import TrainedMethod
from rrsis_bench.engine.overlay import draw_overlay, enlarged
from rrsis_bench.errors import UsageError
from rrsis_bench.files import json_text, write_text, write_together

if TYPE_CHECKING:
    from rrsis_bench.engine.bitmask import Prediction
    from rrsis_bench.engine.boxes import Box

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
) -> tuple[dict[str, Any], tuple[Path, ...]]:
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
        the facts of the JSON file, and the files written.

    Raises:
        UserError: one cannot be written.
        ImageError: the image is damaged.
    """
    mask, model = found.bits, run.config["model"]
    rle = mask.rle()
    facts: dict[str, Any] = {
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
    if found.box is not None:
        facts["box"] = [round(edge, 2) for edge in found.box]
    outputs = {"_mask.png": mask.png(), "_overlay.png": _png(_overlay(image, mask, text, found.box))}
    if place is not None:
        outputs |= map_files(mask, place, {"text": text, "method": f"{model['method']}@{model['variant']}"})
    contents: dict[str, bytes | str] = {**outputs, ".json": json_text(facts)}
    files = {destination.file(suffix): contents[suffix] for suffix in SUFFIXES if suffix in contents}
    write_together(files)
    for suffix in SUFFIXES:
        if suffix not in contents:
            destination.file(suffix).unlink(missing_ok=True)
    return facts, tuple(files)


class Listing:
    """`predictions.jsonl`: one line for each prediction in a folder, with the facts of its JSON file and its files.

    Lines of earlier calls stay, unless their prediction is made again.
    """

    name = "predictions.jsonl"

    def __init__(self, folder: Path) -> None:
        """Read the listing that a folder holds already.

        Raises:
            UsageError: a file of this name is no such listing.
        """
        self.path = folder / self.name
        self.exists, self.added = self.path.is_file(), 0
        self._lines: dict[str, str] = {}
        try:
            for line in self.path.read_text(encoding="utf-8").splitlines() if self.exists else ():
                self._lines[json.loads(line)["files"][0]] = line
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise UsageError(f"{self.path} is no listing of predictions; choose another --out.") from error

    def add(self, facts: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Add a prediction."""
        self.added += 1
        names = [path.name for path in files]
        line = {**facts, "files": names}
        self._lines[names[0]] = json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False)

    def write(self) -> None:
        """Write the file. Raises UserError if it cannot be written."""
        write_text(self.path, "".join(f"{line}\n" for line in self._lines.values()))


def _readable(name: str, otherwise: str) -> str:
    """Letters and digits of any script, what lies between as one hyphen, cut to a length that file systems take."""
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", name))[:_LETTERS]
    cut = words.encode("utf-8", "ignore")[:_BYTES].decode("utf-8", "ignore").strip("-")
    return cut or otherwise


def _overlay(image: ImageReader, mask: BitMask, text: str, box: Box | None) -> NDArray[np.uint8]:
    """The overlay at a size that people look at: small images enlarged, huge ones reduced."""
    longest = max(mask.height, mask.width)
    if longest <= OVERLAY_LIMIT:
        picture, shape = enlarged(image.read(), mask.array())
    else:
        height, width = (max(1, round(side * OVERLAY_LIMIT / longest)) for side in (mask.height, mask.width))
        # A share of the area keeps an object that would fall between the nearest pixels.
        picture, shape = image.reduced(height, width), mask.reduced(height, width, 0.25)
    if box is not None:
        rows, columns = shape.shape[0] / mask.height, shape.shape[1] / mask.width
        box = (box[0] * columns, box[1] * rows, box[2] * columns, box[3] * rows)
    return draw_overlay(picture, shape, text, box=box)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
