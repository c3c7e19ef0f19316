"""Draws the examples of `results explain` from a run's saved masks and the data set's images. No torch."""

from __future__ import annotations

import io
from pathlib import Path

from rrsis_bench.boards.render.explained import Example
from rrsis_bench.data import masks
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.pixels import ImageError, PixelRule, read_rgb
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.data.sources import SOURCES
from rrsis_bench.engine.overlay import draw_overlay
from rrsis_bench.errors import UserError
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.nearest import resize_mask
from rrsis_bench.results import gallery
from rrsis_bench.results.explain import Explained
from rrsis_bench.stats.failures import KINDS

QUALITY = 88
"""Quality of the pictures as JPEG."""


def examples(run: Explained) -> tuple[list[Example], str]:
    """Draw the samples whose predictions a run saved.

    A mask is shown only if its pixels give the integers of the run's own samples.

    Returns:
        the examples, and why there are none; "" if there are some.
    """
    predictions = gallery.read_examples(run.folder)
    try:
        data = run.folder.config()["data"]
        # A run may come from anybody, and a source runs code: only the suite's own sources are used.
        if (data.get("source") or data["dataset"]) not in SOURCES:
            raise UserError(f"data set '{data['dataset']}' is read by a source that is not the suite's own")
        located = locate(data)
        opened = Manifest.open(ensure_manifest(located), str(run.result["dataset"]["split"]), "keep")
        pairs = [pair for pair in opened if pair.sample_id in predictions]
        found = [one for pair in pairs if (one := _drawn(run, pair, predictions[pair.sample_id], located.root))]
    except (UserError, ImageError) as error:
        return [], f"no examples of {run.name}: {error}"
    found.sort(key=lambda one: (KINDS.index(one.kind), one.iou, one.sample_id))
    reason = "the run saved no masks that are those of its samples and of the data set on this machine"
    return found, "" if found else f"no examples of {run.name}: {reason}."


def _drawn(run: Explained, pair: Pair, counts: str, root: Path) -> Example | None:
    """The picture of a sample; None if the mask or the data are not those that were scored."""
    from PIL import Image

    row = run.table.sample_id.index(pair.sample_id) if pair.sample_id in run.table.sample_id else None
    if row is None:
        return None
    try:
        truth, pred = masks.decode(pair.rle), masks.decode({"size": pair.rle["size"], "counts": counts})
    except masks.MaskError:
        return None
    areas = [int(truth.sum()), int(pred.sum()), int((truth & pred).sum())]
    if areas != run.table.view(NATIVE.name)[row].tolist():
        return None
    image = read_rgb(root / pair.image, PixelRule.from_config(pair.pixels))
    size = (image.shape[0], image.shape[1])
    shown, annotated = (mask if mask.shape == size else resize_mask(mask, size) for mask in (pred, truth))
    stream = io.BytesIO()
    Image.fromarray(draw_overlay(image, shown, pair.text, annotated)).save(stream, "JPEG", quality=QUALITY)
    kind = KINDS[int(run.kinds[row])]
    return Example(kind, pair.sample_id, pair.text, float(run.iou[row]), stream.getvalue())
