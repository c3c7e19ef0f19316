"""The two steps of promptable methods: an expression gives boxes, and a promptable segmenter outlines what they hold.

The second step is `PromptableSegmenter.segment_prompted` (`nn/encoders/sam.py`).

Legend: `B` batch, `K` boxes of an expression.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.nn.weights.refs import sha256_file
from rrsis_bench.types import Batch


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes that expressions name.

    Attributes:
        boxes: (B, K, 4) left, top, right, bottom in [0, 1] of the image; the edges are half open.
        scores: (B, K), higher is better; -inf where an expression has fewer than K boxes.
    """

    boxes: Tensor
    scores: Tensor

    def best(self) -> Tensor:
        """The box of the highest score of each expression (B, 4); the first of equal ones."""
        chosen = self.scores.argmax(1)
        return self.boxes[torch.arange(len(chosen), device=chosen.device), chosen]


class BoxSource(Protocol):
    """Finds boxes for expressions: a grounding network, or a file of boxes."""

    def find(self, batch: Batch) -> FoundBoxes:
        """The boxes of each expression of a blind batch.

        Raises:
            UserError: the source has no box for a sample; the message names the sample.
        """


class BoxFile:
    """Boxes from a file of JSON lines `{"sample_id": ..., "box": [x0, y0, x1, y1], "score": ...}`.

    A box lies in [0, 1] of the image. A sample may have several lines; without a score, a box has 1. A sample that is
    made up to measure cost has no id, and the whole image is its box.

    Args:
        path: the file, which is read when the first box is asked for.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def sha256(self) -> str:
        """Hex digest of the file.

        Raises:
            MissingResourceError: there is no file.
        """
        if not self.path.is_file():
            raise MissingResourceError(f"there is no file of boxes at {self.path}; correct the option `boxes`.")
        return sha256_file(self.path)

    def find(self, batch: Batch) -> FoundBoxes:
        """The boxes of each sample, see `BoxSource.find`."""
        missing = [name for name in batch.sample_ids if name and name not in self._lines]
        if missing:
            raise UserError(
                f"{self.path} has no box for sample '{missing[0]}'; it must hold one for every sample that is scored."
            )
        found = [self._lines[name] if name else [([0.0, 0.0, 1.0, 1.0], 1.0)] for name in batch.sample_ids]
        most = max(len(lines) for lines in found)
        boxes = torch.zeros(len(found), most, 4)
        scores = torch.full((len(found), most), -math.inf)
        for k, lines in enumerate(found):
            boxes[k, : len(lines)] = torch.tensor([box for box, _ in lines])
            scores[k, : len(lines)] = torch.tensor([score for _, score in lines])
        return FoundBoxes(boxes.to(batch.images.device), scores.to(batch.images.device))

    @cached_property
    def _lines(self) -> dict[str, list[tuple[list[float], float]]]:
        self.sha256()
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the boxes of {self.path}: {error}.") from error
        found: dict[str, list[tuple[list[float], float]]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                name, box, score = _parse(f"{self.path}:{number}", line)
                found.setdefault(name, []).append((box, score))
        return found


def _parse(where: str, line: str) -> tuple[str, list[float], float]:
    """Sample, box and score of a line.

    Raises:
        UserError: the line is not of the form.
    """
    form = '{"sample_id": "...", "box": [x0, y0, x1, y1], "score": 0.9}'
    try:
        entry: Any = json.loads(line)
        name, score = str(entry["sample_id"]), float(entry.get("score", 1.0))
        box = [float(number) for number in entry["box"]]
        left, top, right, bottom = box
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: expected {form}, found {line[:80]}") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1 and math.isfinite(score)):
        raise UserError(f"{where}: the box {box} is not left, top, right, bottom in [0, 1] of the image.")
    return name, box, score
