"""Pictures for the boards: ten drawn scenes, and the predictions of each run on them.

The package holds the scenes (image, expression, truth) of the tiny split. `test` saves a run's predictions on them in
`gallery.json`, as COCO RLE. Boards show a prediction only if its pixels give the integers of the run's own
`samples.csv.gz`. Nobody can show better masks than those that were scored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.files import json_text
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.results.samples import SampleTable, read_samples
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.layout import EXAMPLES

SCENES = Path(__file__).with_name("gallery_tiny.json")
FORMAT = 1


@dataclass(frozen=True)
class GalleryScene:
    """One image-expression pair of the gallery.

    Attributes:
        sample_id: id of the sample in the split.
        category: class of the referent.
        text: the expression.
        size: height and width in pixels.
        truth: COCO RLE counts of the annotated mask.
        jpeg: the image as JPEG in base64.
    """

    sample_id: str
    category: str
    text: str
    size: tuple[int, int]
    truth: str
    jpeg: str


@dataclass(frozen=True)
class Gallery:
    """The scenes of the gallery, with name and content hash of their data set."""

    dataset: str
    content_hash: str
    scenes: tuple[GalleryScene, ...]


@cache
def bundled() -> Gallery:
    """The gallery that the package holds."""
    loaded = json.loads(SCENES.read_text(encoding="utf-8"))
    found = tuple(GalleryScene(**{**entry, "size": tuple(entry["size"])}) for entry in loaded["scenes"])
    return Gallery(loaded["dataset"], loaded["content_hash"], found)


def wanted(dataset: str) -> frozenset[str]:
    """Ids of the samples whose predictions a run saves; empty for a data set without a gallery."""
    known = bundled()
    return frozenset(scene.sample_id for scene in known.scenes) if dataset == known.dataset else frozenset()


def text_of(predictions: Mapping[str, str]) -> str | None:
    """The text of a run's `gallery.json`; None if there are no predictions.

    Args:
        predictions: sample id -> COCO RLE counts of the prediction.
    """
    return json_text({"format": FORMAT, "predictions": dict(sorted(predictions.items()))}) if predictions else None


def read(folder: RunFolder, dataset: Mapping[str, Any], table: SampleTable | None = None) -> dict[str, str]:
    """A run's predictions on the gallery's scenes, after they are compared with the run's integers.

    Args:
        folder: the run folder.
        dataset: the `dataset` block of its result; only the content that the scenes are of has a gallery.
        table: the run's samples; None to read them.

    Returns:
        sample id -> COCO RLE counts; empty if the run saved none.

    Raises:
        UserError: the file is damaged, or a mask is not the one that was scored.
    """
    path = folder.gallery_path
    known = bundled()
    if not path.is_file() or dataset.get("content_hash") != known.content_hash:
        return {}
    predictions = _predictions(path)
    table = read_samples(folder) if table is None else table
    rows = dict(zip(table.sample_id, table.view(NATIVE.name).tolist(), strict=True))
    shown = {}
    for scene in known.scenes:
        if scene.sample_id not in predictions:
            continue
        counts = predictions[scene.sample_id]
        truth, pred = _mask(scene.truth, scene.size, path), _mask(counts, scene.size, path)
        if rows.get(scene.sample_id) != [int(mask.sum()) for mask in (truth, pred, truth & pred)]:
            raise UserError(
                f"{path}: the mask of sample '{scene.sample_id}' is not the one that {folder.samples_path.name} was "
                "counted from. Test the run again, or remove the file."
            )
        shown[scene.sample_id] = counts
    return shown


def read_examples(folder: RunFolder) -> dict[str, str]:
    """Sample id -> COCO RLE counts of the predictions that `test --detail` saved; empty if there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder.path / EXAMPLES
    return _predictions(path) if path.is_file() else {}


def _predictions(path: Path) -> dict[str, str]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in loaded["predictions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}. Test the run again, or remove the file.") from error


def _mask(counts: str, size: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    from rrsis_bench.data.masks import MaskError, runs  # imports cv2 and pycocotools, which most calls do not need

    try:
        lengths = runs({"size": list(size), "counts": counts})
    except MaskError as error:
        raise UserError(f"{path} holds a mask that does not decode: {error}. Test the run again.") from error
    # Runs go down the columns, background first. Areas and intersections do not depend on the order of the pixels.
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
