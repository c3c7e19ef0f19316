"""Images, expressions, masks: what `rrsis-bench predict` does.

An image within the tile limit is squashed to the method's input as in training and scoring. A larger one is cut into
overlapping tiles, each squashed likewise, and the tiles' logits are blended (see `tiling`). A map is read by windows
and its mask is kept at one bit a pixel, so that its size is bounded by the disk, not by memory.

Shape legend: `H W` pixels of the image, `h w` pixels of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from rrsis_bench.config import zero_shot
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.pixels import DecodedImage, ImageError, ImageReader, PixelRule, open_image, opened
from rrsis_bench.data.text import load_tokenizer, normalise_text
from rrsis_bench.data.transforms import normalise, resize_image
from rrsis_bench.engine import geo, load
from rrsis_bench.engine.bitmask import BitMask, Prediction
from rrsis_bench.engine.device import pick_device
from rrsis_bench.engine.outputs import SUFFIXES, Destination, write_prediction
from rrsis_bench.engine.tiling import TilePlan, blend, plan
from rrsis_bench.errors import UsageError
from rrsis_bench.files import prove_writable
from rrsis_bench.methods.base import Method
from rrsis_bench.metrics import protocols
from rrsis_bench.metrics.counts import binarise
from rrsis_bench.run.folder import RunFolder

TILE_FACTOR = 2  # default tile limit over the method's input size; scenes squashed more lose their small objects


@dataclass(frozen=True)
class Predicted:
    """A prediction that was written.

    Attributes:
        image: the image's file.
        text: the expression.
        found: the prediction.
        files: what was written.
        notes: what a user should know of how it came about, a sentence each.
    """

    image: Path
    text: str
    found: Prediction
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def predict_files(
    run: Path,
    images: Sequence[Path],
    texts: Sequence[str],
    out: Path = Path("predictions"),
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    bands: str | None = None,
    stretch: str | None = None,
    plain: bool = False,
    overwrite: bool = False,
) -> Iterator[Predicted]:
    """Segment what each expression refers to in each image file; the run is loaded once, each image opened once.

    Args:
        run: a run folder of `fit`.
        images: image files.
        texts: expressions.
        out: folder to write to.
        checkpoint: a checkpoint of the run; None for its best.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        tile: longest side of a tile; None for twice the method's input size.
        overlap: share of a tile's side that neighbours have in common at least.
        batch_size: tiles in a batch.
        bands: which bands are red, green and blue, such as `4,3,2`; None for what the run's data set states, else for
            what the file says.
        stretch: of images deeper than 8 bits: `LOW,HIGH` or `percentiles-2-98`; None for what the run's data set
            states.
        plain: treat georeferenced files as ordinary images.
        overwrite: replace earlier predictions of the same image and expression.

    Yields:
        each prediction once it is written, image by image.

    Raises:
        UsageError: no image, an empty expression, an image that cannot be read, a prediction that is already there, or
            settings that make no sense.
        UserError: the run cannot be loaded, or a file cannot be written.
    """
    rule = PixelRule().with_words(bands, stretch)
    if not images or not texts:
        raise UsageError("predict needs at least one --image and one --text.")
    # What is given twice is one input, and has one name.
    asked = list(dict.fromkeys(_worded(text) for text in texts))
    files = list({path.resolve(): path for path in images}.values())
    jobs = [(path, [(text, Destination.of(out, path, text)) for text in asked]) for path in files]
    chosen, folder = pick_device(device), RunFolder(run)
    run_config = folder.config()
    if checkpoint is None:
        if not zero_shot(run_config):
            folder.checkpoint()
    elif not checkpoint.is_file():
        raise UsageError(f"--ckpt: there is no checkpoint {checkpoint}.")
    for path, wanted in jobs:
        try:
            with opened(path):
                pass
        except ImageError as error:
            raise _unreadable(path, error) from error
        if not overwrite:
            for _, destination in wanted:
                destination.refuse_present()
    for _, wanted in jobs:
        prove_writable(*(destination.file(SUFFIXES[0]) for _, destination in wanted))
    loaded = load.load_run(folder, chosen, checkpoint)
    stated = PixelRule.from_config((loaded.config.get("data") or {}).get("pixels"))
    rule = PixelRule(rule.bands or stated.bands, rule.stretch if stretch is not None else stated.stretch)
    for path, wanted in jobs:
        place = None if plain else geo.locate(path)
        try:
            with open_image(path, rule) as image:
                for text, destination in wanted:
                    found = segment(loaded.method, image, text, chosen, tile, overlap, batch_size)
                    written = write_prediction(destination, path, image, place, text, found, loaded)
                    yield Predicted(path, text, found, written, tuple(_notes(image, place, found)))
        except ImageError as error:
            raise _unreadable(path, error) from error


def segment(
    method: Method,
    image: NDArray[np.uint8] | ImageReader,
    text: str,
    device: torch.device | str = "cpu",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
) -> Prediction:
    """Segment what an expression refers to.

    Args:
        method: in evaluation mode, on `device`.
        image: (H, W, 3) uint8 RGB, or an open image.
        text: the expression. In a tiled image its words of place ("upper left") are read within each tile.
        device: where the method is.
        tile: longest side of a tile; None for twice the method's input size.
        overlap: share of a tile's side that neighbours have in common at least.
        batch_size: tiles in a batch.

    Raises:
        UsageError: an empty expression, or tile settings that make no sense.
        ImageError: the image is damaged.
    """
    text = _worded(text)
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} must be at least 1.")
    source = DecodedImage(image) if isinstance(image, np.ndarray) else image
    limit = TILE_FACTOR * max(method.input_spec.image_size) if tile is None else tile
    layout = plan(source.height, source.width, limit, overlap)
    tokens = load_tokenizer(method.input_spec)(text)
    view = protocols.get(protocols.DEFAULT).view
    bits, total = BitMask(source.height, source.width), 0.0
    tiles = _tile_logits(method, source, text, tokens, layout, device, batch_size)
    for top, logits in blend(layout, tiles):
        size = (logits.shape[0], logits.shape[1])  # rows at native size: nothing is resized any more
        rows = binarise(torch.from_numpy(logits)[None, None], size, method.input_spec.image_size, view)[0].numpy()
        bits.put(top, rows)
        total += float(np.sum(1 / (1 + np.exp(-logits[rows].astype(np.float64)))))
    mean = total / bits.area if bits.area else None
    return Prediction(bits, mean, view.threshold, len(layout.corners), tokens.truncated)


@torch.inference_mode()
def _tile_logits(
    method: Method,
    image: ImageReader,
    text: str,
    tokens: Any,
    layout: TilePlan,
    device: torch.device | str,
    batch_size: int,
) -> Iterator[NDArray[np.float32]]:
    """Logits (h, w) of each tile in the layout's order."""
    spec = method.input_spec
    blank = np.zeros(spec.image_size, dtype=np.uint8)
    for start in range(0, len(layout.corners), batch_size):
        numbers = range(start, min(start + batch_size, len(layout.corners)))
        crops = (np.ascontiguousarray(image.read(layout.box(k))) for k in numbers)
        items = [
            Item(k, str(k), "", normalise(resize_image(crop, spec), spec), blank, None, tokens, text, "")
            for k, crop in zip(numbers, crops, strict=True)
        ]
        output = method(collate(items).to(device).blind()).logits.float()
        native = functional.interpolate(output, layout.tile, mode="bilinear", align_corners=False)
        yield from native[:, 0].cpu().numpy()


def _worded(text: str) -> str:
    normalised = normalise_text(text)
    if not normalised:
        raise UsageError('--text is empty: say what to look for, such as --text "the white airplane on the left".')
    return normalised


def _unreadable(path: Path, error: ImageError) -> UsageError:
    return UsageError(f"cannot read the image {path}: {error}.")


def _notes(image: ImageReader, place: geo.GeoImage | None, found: Prediction) -> Iterator[str]:
    yield from (note.message for note in image.notes)
    if place is not None and place.note is not None:
        yield place.note
    if found.truncated:
        yield "the expression is longer than the method reads; its end was cut"
    if found.tiles > 1:
        yield f"the image was cut into {found.tiles} tiles; words of place are read within each (see --tile)"
