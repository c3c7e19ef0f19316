"""Reads predictions of any framework, checks them, and counts their pixels against the truth.

Predictions are JSON lines of `{"sample_id": ..., "rle": {"size": [h, w], "counts": ...}}`, a folder of PNG masks named
by sample id, or a mapping in memory. The RLE is COCO's, compressed or not; the file may be gzipped.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from rrsis_bench.data import masks
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, Rle
from rrsis_bench.data.pixels import ImageError, foreground, read_labels
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.areas import Counts

Predictions = Path | str | Mapping[str, Any]


class PredictionError(UserError):
    """The predictions cannot be scored.

    Attributes:
        problems: one sentence for each problem.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"predictions cannot be scored: {problems[0]}{more}. Nothing was written.")


def count_predictions(predictions: Predictions, pairs: Sequence[Pair], unscored: Container[str] = ()) -> Counts:
    """Areas of truth, prediction and intersection of every sample, at the size of its truth.

    Args:
        predictions: a JSONL file, a folder of PNG masks, or sample id -> mask (H, W) or RLE.
        pairs: the split, N samples.
        unscored: ids of samples that the split skips; predictions of them are ignored.

    Returns:
        (N, 3) int64 pixels, in the order of the pairs.

    Raises:
        UsageError: the file or folder does not exist, or is empty.
        PredictionError: missing, unknown or duplicate ids, wrong sizes, or masks that cannot be decoded; the error
            lists every problem.
    """
    place = {pair.sample_id: number for number, pair in enumerate(pairs)}
    counts = np.zeros((len(pairs), 3), np.int64)
    seen: dict[str, str] = {}
    problems: list[str] = []
    for where, sample_id, mask in _read(predictions):
        if sample_id is None:
            problems.append(f"{where}: {mask}")
            continue
        if sample_id in seen:
            problems.append(f"{where}: sample '{sample_id}' is predicted twice, first in {seen[sample_id]}")
            continue
        seen[sample_id] = where
        if sample_id in unscored and sample_id not in place:
            continue
        if sample_id not in place:
            problems.append(f"{where}: unknown sample '{sample_id}'")
            continue
        try:
            counts[place[sample_id]] = _count(mask, pairs[place[sample_id]])
        except MaskError as error:
            problems.append(f"{where}: sample '{sample_id}': {error}")
    problems += [f"sample '{pair.sample_id}' has no prediction" for pair in pairs if pair.sample_id not in seen]
    if problems:
        raise PredictionError(problems)
    return counts


def refuse_absent(predictions: Predictions) -> None:
    """Raise UsageError if the file or folder of the predictions does not exist."""
    if not isinstance(predictions, Mapping) and not Path(predictions).exists():
        raise UsageError(
            f"there is no file or folder {predictions}; give a JSONL file of COCO RLE, or a folder of PNG masks."
        )


def _count(mask: Any, pair: Pair) -> tuple[int, int, int]:
    """Areas of truth, prediction and intersection in pixels, computed from the run lengths."""
    rle = _rle(mask)
    truth = pair.rle
    if list(rle["size"]) != list(truth["size"]):
        (height, width), (rows, columns) = rle["size"], truth["size"]
        raise MaskError(
            f"the mask is {height} high and {width} wide, its truth {rows} and {columns}; bring your logits to that "
            "size (bilinear) before the threshold"
        )
    both = [{"size": part["size"], "counts": part["counts"].encode("latin-1")} for part in (truth, rle)]
    areas = coco_mask.area([*both, coco_mask.merge(both, intersect=True)])
    return int(areas[0]), int(areas[1]), int(areas[2])


def _rle(mask: Any) -> Rle:
    if isinstance(mask, Path):
        try:
            mask = read_labels(mask)
        except ImageError as error:
            raise MaskError(str(error)) from error
    if isinstance(mask, np.ndarray):
        return masks.encode(_binary(mask))
    if not isinstance(mask, Mapping):
        raise MaskError('\'rle\' is no COCO RLE of the form {"size": [h, w], "counts": ...}')
    return masks.canonical(mask, 0, 0)


def _binary(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The foreground (H, W) of a mask with at most one value besides 0.

    Args:
        mask: (H, W), or (H, W, 3) with at most one colour besides black.

    Raises:
        MaskError: another shape, or more values.
    """
    if not mask.size or not (mask.ndim == 2 or (mask.ndim == 3 and mask.shape[2] == 3)):
        raise MaskError(f"a mask has one channel or three, not the shape {mask.shape}")
    marked = foreground(mask)
    colours = mask[marked]
    if colours.size and (colours != colours[0]).any():
        count = len(np.unique(colours, axis=0)) + (not marked.all())
        raise MaskError(
            f"{count} different values: a mask has 0 and one other; probabilities are not scored, apply your threshold"
        )
    return marked


def _read(predictions: Predictions) -> Iterator[tuple[str, str | None, Any]]:
    """Yield (place, sample id, mask) for each prediction, and (place, None, reason) for each unreadable one."""
    if isinstance(predictions, Mapping):
        yield from ((f"entry {number}", str(key), value) for number, (key, value) in enumerate(predictions.items(), 1))
        return
    path = Path(predictions)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() == ".png")
        if not files:
            raise UsageError(f"{path} holds no PNG file; masks are named by sample id: {path}/<sample_id>.png.")
        yield from ((str(file), file.relative_to(path).with_suffix("").as_posix(), file) for file in files)
        return
    refuse_absent(path)
    yield from _lines(path)


def _lines(path: Path) -> Iterator[tuple[str, str | None, Any]]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    number = 0
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _line(f"{path}:{number}", line)
    except (OSError, EOFError, zlib.error) as error:
        yield f"{path}:{number + 1}", None, f"the file is truncated or damaged ({error})"
    if not number:
        raise UsageError(f'{path} is empty; one line per sample: {{"sample_id": ..., "rle": ...}}.')


def _line(where: str, line: bytes) -> tuple[str, str | None, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return where, None, "not a line of JSON"
    if not isinstance(entry, dict) or not isinstance(entry.get("sample_id"), str | int):
        return where, None, "no object with a 'sample_id'"
    return where, str(entry["sample_id"]), entry.get("rle")
