"""Images, expressions, masks: what `rrsis-bench predict` does.

An image within the tile limit is squashed to the method's input as in training and scoring. A larger one is cut into
overlapping tiles, each squashed likewise, and the tiles' logits are blended (see `tiling`). A map is read by windows.
Its mask is kept at one bit a pixel: the disk bounds the map's size, not the memory.

A method that shares images encodes each tile once for all expressions.

Shape legend: `H W` pixels of the image, `h w` pixels of a tile, `n` tiles of a batch, `T` expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rrsis_bench.config import zero_shot
from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.pixels import DecodedImage, ImageError, ImageReader, PixelRule, open_image, opened
from rrsis_bench.data.text import load_tokenizer, normalise_text
from rrsis_bench.data.transforms import normalise, resize_image
from rrsis_bench.engine import geo, load
from rrsis_bench.engine.bitmask import BitMask, Prediction
from rrsis_bench.engine.boxes import Box, in_pixels
from rrsis_bench.engine.device import pick_device
from rrsis_bench.engine.inputs import find_images
from rrsis_bench.engine.outputs import SUFFIXES, Destination, Listing, write_prediction
from rrsis_bench.engine.tiling import TilePlan, blend, plan
from rrsis_bench.errors import UsageError
from rrsis_bench.files import prove_writable
from rrsis_bench.methods.base import Method
from rrsis_bench.metrics import protocols
from rrsis_bench.metrics.counts import binarise
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.types import Tokenized

TOGETHER = 1 << 27  # logits of all expressions that are held at once, 4 bytes each
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

    `predictions.jsonl` lists several predictions. It lists a single one, too, if the folder has this file already.

    Args:
        run: a run folder of `fit`.
        images: image files, folders of images, or patterns such as `scenes/*.tif`.
        texts: expressions.
        out: folder to write to.
        checkpoint: a checkpoint of the run; None for its best.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        tile: longest side of a tile; None for twice the method's input size.
        overlap: share of a tile's side that neighbours have in common at least.
        batch_size: tiles in a batch; expressions, for an image of one tile.
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
        raise UsageError("predict needs at least one --image, and one --text or --texts FILE.")
    # What is given twice is one input, and has one name.
    asked = list(dict.fromkeys(_worded(text) for text in texts))
    jobs = [(path, [(text, Destination.of(out, path, text)) for text in asked]) for path in find_images(images)]
    listing = Listing(out)
    listed = listing.exists or len(jobs) * len(asked) > 1
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
    try:
        for path, wanted in jobs:
            place = None if plain else geo.locate(path)
            try:
                with open_image(path, rule) as image:
                    made = segment_all(loaded.method, image, asked, chosen, tile, overlap, batch_size)
                    for (text, destination), found in zip(wanted, made, strict=True):
                        facts, written = write_prediction(destination, path, image, place, text, found, loaded)
                        if listed:
                            listing.add(facts, written)
                        yield Predicted(path, text, found, written, tuple(_notes(image, place, found)))
            except ImageError as error:
                raise _unreadable(path, error) from error
    finally:
        if listed and listing.added:
            listing.write()


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
    return next(segment_all(method, image, [text], device, tile, overlap, batch_size))


def segment_all(
    method: Method,
    image: NDArray[np.uint8] | ImageReader,
    texts: Sequence[str],
    device: torch.device | str = "cpu",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
) -> Iterator[Prediction]:
    """Segment what each expression refers to, as `segment` does.

    Yields:
        a prediction for each expression, in their order.
    """
    texts = [_worded(text) for text in texts]
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} must be at least 1.")
    source = DecodedImage(image) if isinstance(image, np.ndarray) else image
    limit = TILE_FACTOR * max(method.input_spec.image_size) if tile is None else tile
    layout = plan(source.height, source.width, limit, overlap)
    tokenize, view = load_tokenizer(method.input_spec), protocols.get(protocols.DEFAULT).view
    tiles = _Tiles(method, source, layout, device, batch_size)
    # Expressions whose logits fit into memory go over the image together.
    together = max(1, TOGETHER // (layout.tile[0] * (layout.width + batch_size * layout.tile[1])))
    for start in range(0, len(texts), together):
        part = texts[start : start + together]
        tokens = [tokenize(text) for text in part]
        bits, totals = [BitMask(source.height, source.width) for _ in part], [0.0] * len(part)
        for top, logits in blend(layout, tiles.logits(part, tokens)):
            size = (logits.shape[-2], logits.shape[-1])  # rows at native size: nothing is resized any more
            rows = binarise(torch.from_numpy(logits)[:, None], size, method.input_spec.image_size, view).numpy()
            for k, own in enumerate(rows):
                bits[k].put(top, own)
                totals[k] += float(np.sum(1 / (1 + np.exp(-logits[k][own].astype(np.float64)))))
        for k, mask in enumerate(bits):
            mean = totals[k] / mask.area if mask.area else None
            box = tiles.boxes.get(part[k])
            yield Prediction(mask, mean, view.threshold, len(layout.corners), tokens[k].truncated, box)


class _Tiles:
    """The tiles of an image, encoded once for all expressions if the method shares images."""

    def __init__(
        self, method: Method, image: ImageReader, layout: TilePlan, device: torch.device | str, batch_size: int
    ) -> None:
        self.method, self.image, self.layout = method, image, layout
        self.device, self.batch_size = device, batch_size
        self._encoded: tuple[Tensor, ...] = ()
        self.boxes: dict[str, Box] = {}  # by expression, of an image of one tile

    @torch.inference_mode()
    def logits(self, texts: Sequence[str], tokens: Sequence[Tokenized]) -> Iterator[NDArray[np.float32]]:
        """Logits (T, h, w) of each tile in the layout's order."""
        count, spec = len(self.layout.corners), self.method.input_spec
        for start in range(0, count, self.batch_size):
            numbers = range(start, min(start + self.batch_size, count))
            crops = (np.ascontiguousarray(self.image.read(self.layout.box(k))) for k in numbers)
            inputs = [normalise(resize_image(crop, spec), spec) for crop in crops]
            if len(numbers) < count:
                self._encoded = ()  # the tiles of one batch are encoded for all calls, several batches for this one
            found = np.empty((len(numbers), len(texts), *self.layout.tile), np.float32)
            step = max(1, self.batch_size // len(numbers))
            for first in range(0, len(texts), step):
                part = slice(first, first + step)
                found[:, part] = self._batch(inputs, texts[part], tokens[part])
            yield from found

    def _batch(
        self, inputs: Sequence[NDArray[np.float32]], texts: Sequence[str], tokens: Sequence[Tokenized]
    ) -> NDArray[np.float32]:
        """Logits (n, T, h, w) of some tiles for some expressions."""
        blank = np.zeros(self.method.input_spec.image_size, dtype=np.uint8)
        items = [
            Item(k, str(k), "", image, blank, None, one, text, "")
            for k, image in enumerate(inputs)
            for text, one in zip(texts, tokens, strict=True)
        ]
        shares = getattr(self.method, "shares_images", False)
        batch = collate(items, shares).to(self.device).blind()
        if shares:
            self._encoded = self._encoded or self.method.encode_images(batch.images)
            batch = replace(batch, encoded=self._encoded)
        output = self.method(batch)
        if "boxes" in output.aux and len(self.layout.corners) == 1:
            for text, box in zip(texts, output.aux["boxes"], strict=True):
                self.boxes[text] = in_pixels(box, *self.layout.tile)
        native = functional.interpolate(output.logits.float(), self.layout.tile, mode="bilinear", align_corners=False)
        return native.reshape(len(inputs), len(texts), *self.layout.tile).cpu().numpy()


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
