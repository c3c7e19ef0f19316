"""Candidates for wrong labels: samples on which different methods agree with each other and not with the truth.

A function of masks alone; `rrsis_bench.engine.audit` makes the predictions and the page. A record says which samples
are candidates, without their images and expressions, which many data sets forbid to pass on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.errors import UserError
from rrsis_bench.run.seal import sealed, text_of

AGREE = 0.7
"""Each two predictions of a candidate have a larger IoU than this."""
DISAGREE = 0.3
"""Each prediction of a candidate has a smaller IoU with the truth than this."""

FORMAT = 1
"""Version of the record."""


@dataclass(frozen=True)
class Verdict:
    """What the masks of a sample say of its label.

    Attributes:
        agreement: the smallest IoU of two predictions.
        with_truth: the largest IoU of a prediction with the truth.
        consensus: (H, W) bool, True where more than half of the predictions are foreground.
    """

    agreement: float
    with_truth: float
    consensus: NDArray[np.bool_]

    @property
    def is_candidate(self) -> bool:
        """Whether the methods agree on something that the truth is not."""
        return self.agreement > AGREE and self.with_truth < DISAGREE and bool(self.consensus.any())

    @property
    def gap(self) -> float:
        """By how much the methods agree more with each other than with the truth."""
        return self.agreement - self.with_truth


def iou(here: NDArray[Any], there: NDArray[Any]) -> float:
    """IoU of two masks (H, W); 1 if both are empty, as under `native-v1`."""
    union = int(np.count_nonzero((here != 0) | (there != 0)))
    return int(np.count_nonzero((here != 0) & (there != 0))) / union if union else 1.0


def judge(truth: NDArray[Any], predictions: Sequence[NDArray[Any]]) -> Verdict:
    """Judge one sample.

    Methods that find nothing name no other object: if all do, the sample is no candidate.

    Args:
        truth: (H, W) annotated mask.
        predictions: masks (H, W) of two methods or more.
    """
    votes = np.sum([mask != 0 for mask in predictions], axis=0)
    return Verdict(
        agreement=min(iou(here, there) for here, there in combinations(predictions, 2)),
        with_truth=max(iou(mask, truth) for mask in predictions),
        consensus=2 * votes > len(predictions),
    )


def record_text(
    dataset: str, split: str, methods: Sequence[str], n_samples: int, candidates: Sequence[tuple[int, str, Verdict]]
) -> str:
    """Write the record of an audit.

    Args:
        dataset: name of the data set.
        split: name of the split.
        methods: `method@variant` of each run.
        n_samples: number of samples that were judged.
        candidates: position in the split, id and verdict of each candidate, the clearest first.
    """
    found = [
        {"index": index, "sample_id": sample_id, "agreement": one.agreement, "with_truth": one.with_truth}
        for index, sample_id, one in candidates
    ]
    record = {"dataset": dataset, "split": split, "methods": list(methods), "n_samples": n_samples}
    return text_of({**record, "audit": FORMAT, "agree": AGREE, "disagree": DISAGREE, "candidates": found})


def read_record(path: Path) -> Mapping[str, Any]:
    """Read the record of an audit and check its checksum.

    Raises:
        UserError: it cannot be read, is no such record, was edited by hand, or has other bounds.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}. Audit the data set again.") from error
    if not isinstance(loaded, dict) or loaded.get("audit") != FORMAT:
        raise UserError(f"{path} is no record of an audit. Only files of 'rrsis-bench data audit' belong there.")
    if sealed(loaded)["sha256"] != loaded.get("sha256"):
        raise UserError(f"{path} was edited by hand or damaged. Audit the data set again.")
    if (loaded["agree"], loaded["disagree"]) != (AGREE, DISAGREE):
        raise UserError(f"{path} has other bounds than {AGREE} and {DISAGREE}. Audit the data set again.")
    return loaded
