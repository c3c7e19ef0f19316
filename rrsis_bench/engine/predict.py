"""One image, one expression, one mask: what `rrsis-bench predict` does.

An image within the tile limit is squashed to the method's input as in training and scoring. A larger one is cut into
overlapping tiles, each squashed likewise, and the tiles' logits are blended (see `tiling`).

Shape legend: `H W` pixels of the image.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from rrsis_bench.data import masks
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.pixels import ImageError, read_rgb
from rrsis_bench.data.text import load_tokenizer, normalise_text
from rrsis_bench.data.transforms import normalise, resize_image
from rrsis_bench.engine import geo
from rrsis_bench.engine.load import LoadedRun
from rrsis_bench.engine.overlay import draw_overlay, enlarged
from rrsis_bench.engine.tiling import Blend, Plan, plan
from rrsis_bench.errors import UsageError
from rrsis_bench.files import json_text, write_together
from rrsis_bench.methods.base import Method
from rrsis_bench.metrics import protocols
from rrsis_bench.metrics.counts import binarise

TILE_FACTOR = 2  # default tile limit over the method's input size; scenes squashed more lose their small objects
OVERLAY_LIMIT = 4096  # longest side of the overlay in pixels; the mask keeps the image's own size


@dataclass(frozen=True)
class Prediction:
    """What a method makes of an image and an expression.

    Attributes:
        mask: (H, W) uint8 in {0, 1}.
        mean_probability: mean foreground probability inside the mask; None where the mask is empty.
        threshold: a pixel is foreground where its probability is greater.
        tiles: number of tiles.
        truncated: whether the expression has more tokens than the method reads.
    """

    mask: NDArray[np.uint8]
    mean_probability: float | None
    threshold: float
    tiles: int
    truncated: bool


def load_image(path: Path, plain: bool = False, bands: tuple[int, int, int] | None = None) -> geo.Scene | NDArray[Any]:
    """An image file: a `Scene` where it is georeferenced (and not asked to be plain), else (H, W, 3) uint8 RGB.

    Raises:
        UsageError: missing or no image; or georeferenced without the extra `geo`.
    """
    if path.is_file() and not plain and geo.is_georeferenced(path):
        return geo.read(path, bands)
    if bands is not None:
        raise UsageError(f"--bands is for georeferenced images, and {path} is not read as one.")
    try:
        return read_rgb(path)
    except ImageError as error:
        raise UsageError(f"cannot read the image {path}: {error}. Give a PNG, JPEG or TIFF file.") from error


def segment(
    method: Method,
    image: NDArray[np.uint8],
    text: str,
    device: torch.device | str = "cpu",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
) -> Prediction:
    """Segment what an expression refers to.

    Args:
        method: in evaluation mode, on `device`.
        image: (H, W, 3) uint8 RGB.
        text: the expression. In a tiled image its words of place ("upper left") are read within each tile.
        device: where the method is.
        tile: longest side of a tile; None for twice the method's input size.
        overlap: share of a tile's side that neighbours have in common at least.
        batch_size: tiles in a batch.

    Raises:
        UsageError: an empty expression, or tile settings that make no sense.
    """
    text = normalise_text(text)
    if not text:
        raise UsageError('--text is empty: say what to look for, such as --text "the white airplane on the left".')
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} must be at least 1.")
    layout = plan(
        image.shape[0],
        image.shape[1],
        TILE_FACTOR * max(method.input_spec.image_size) if tile is None else tile,
        overlap,
    )
    logits, truncated = _blended(method, image, text, layout, device, batch_size)
    size, view = (image.shape[0], image.shape[1]), protocols.get(protocols.DEFAULT).view
    mask = binarise(torch.from_numpy(logits)[None, None], size, method.input_spec.image_size, view)[0].numpy()
    inside = logits[mask].astype(np.float64)
    mean = float(np.mean(1 / (1 + np.exp(-inside)))) if inside.size else None
    return Prediction(mask.astype(np.uint8), mean, view.threshold, len(layout.corners), truncated)


@torch.inference_mode()
def _blended(
    method: Method, image: NDArray[np.uint8], text: str, layout: Plan, device: torch.device | str, batch_size: int
) -> tuple[NDArray[np.float32], bool]:
    """Logits (H, W), and whether the expression was cut."""
    spec = method.input_spec
    tokens = load_tokenizer(spec)(text)
    blank = np.zeros(spec.image_size, dtype=np.uint8)
    blend = Blend(layout)
    for start in range(0, len(layout.corners), batch_size):
        numbers = range(start, min(start + batch_size, len(layout.corners)))
        pixels = [normalise(resize_image(np.ascontiguousarray(layout.crop(image, k)), spec), spec) for k in numbers]
        items = [
            Item(k, str(k), "", planes, blank, None, tokens, text, "")
            for k, planes in zip(numbers, pixels, strict=True)
        ]
        output = method(collate(items).to(device).blind()).logits.float()
        native = functional.interpolate(output, layout.tile, mode="bilinear", align_corners=False)
        for k, logits in zip(numbers, native[:, 0].cpu().numpy(), strict=True):
            blend.add(k, logits)
    return blend.logits(), tokens.truncated


def predict_file(
    run: LoadedRun,
    path: Path,
    text: str,
    folder: Path,
    device: torch.device | str = "cpu",
    bands: str | None = None,
    plain: bool = False,
    **settings: Any,
) -> tuple[geo.Scene | NDArray[Any], Prediction, list[Path]]:
    """Segment what an expression refers to in an image file, and write what was found.

    Args:
        run: the trained method.
        path: the image.
        text: the expression.
        folder: to write to.
        device: where the method is.
        bands: bands of a GeoTIFF from 1, such as `4,3,2`.
        plain: treat a georeferenced file as an ordinary image.
        settings: of `segment`.

    Returns:
        the image, the prediction, and the files written.
    """
    image = load_image(path, plain, _bands(bands))
    pixels = image.image if isinstance(image, geo.Scene) else image
    found = segment(run.method, pixels, text, device, **settings)
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "expression"
    return image, found, write_prediction(folder / f"{path.stem}_{words}", path, image, text, found, run)


def _bands(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if found is None:
        raise UsageError(f"--bands {text} must be three numbers, such as 4,3,2.")
    return int(found[1]), int(found[2]), int(found[3])


def write_prediction(
    stem: Path, source: Path, image: geo.Scene | NDArray[Any], text: str, found: Prediction, run: LoadedRun
) -> list[Path]:
    """Write mask, overlay and RLE (and for a georeferenced image the mask on the map and its polygons).

    Args:
        stem: path without suffix; `_mask.png`, `_overlay.png`, `.json`, `_mask.tif`, `.geojson` are added.
        source: the image's file.
        image: what `load_image` gave.
        text: the expression.
        found: the prediction.
        run: the trained method.

    Returns:
        the files written.

    Raises:
        UserError: one cannot be written.
    """
    pixels = image.image if isinstance(image, geo.Scene) else image
    model = run.config["model"]
    facts = {
        "image": str(source),
        "height": int(found.mask.shape[0]),
        "width": int(found.mask.shape[1]),
        "text": text,
        "rle": dict(masks.encode(found.mask)),
        "area": int(found.mask.sum()),
        "empty": not found.mask.any(),
        "mean_probability": found.mean_probability,
        "threshold": found.threshold,
        "tiles": found.tiles,
        "text_truncated": found.truncated,
        "method": {"name": model["method"], "variant": model["variant"], "checkpoint": str(run.checkpoint)},
    }
    outputs: dict[str, bytes | str] = {
        "_mask.png": _png(found.mask * np.uint8(255)),
        "_overlay.png": _png(_overlay(pixels, found.mask, text)),
    }
    if isinstance(image, geo.Scene):
        outputs["_mask.tif"] = geo.mask_geotiff(found.mask, image)
    outputs[".json"] = json_text(facts)
    if isinstance(image, geo.Scene) and image.crs is not None:
        named = {"text": text, "method": f"{model['method']}@{model['variant']}"}
        outputs[".geojson"] = json_text(geo.polygons(found.mask, image, named))
    files = {stem.with_name(stem.name + suffix): content for suffix, content in outputs.items()}
    write_together(files)
    return list(files)


def _overlay(image: NDArray[np.uint8], mask: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The overlay at a size that people look at: small images enlarged, huge ones reduced."""
    import cv2

    longest = max(image.shape[:2])
    if longest <= OVERLAY_LIMIT:
        return draw_overlay(*enlarged(image, mask), text)
    size = tuple(max(1, round(side * OVERLAY_LIMIT / longest)) for side in image.shape[1::-1])
    reduced = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Area averages keep an object that would fall between the nearest pixels.
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.25
    return draw_overlay(reduced, covered, text)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()
