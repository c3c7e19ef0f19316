"""Counts the detail of a scored split, and chooses samples whose predictions show each kind of answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rrsis_bench.data import masks
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.metrics.detail import COLUMNS
from rrsis_bench.metrics.detail_counts import ImageInstances, count_detail
from rrsis_bench.metrics.metric import SampleCounts
from rrsis_bench.types import Batch


class DetailCounter(nn.Module):
    """Counts the detail of a split's samples, batch by batch.

    The other instances of an image are those that other expressions of the split refer to.

    Args:
        data: the data module; it need not be prepared before the first batch.
        split: name of the split.
    """

    def __init__(self, data: ReferringDataModule, split: str) -> None:
        super().__init__()
        self.integers = SampleCounts(len(COLUMNS))
        self._data, self._split = data, split
        self._shown: dict[str, tuple[str, str]] = {}
        self._category: dict[str, str] = {}
        self._instances: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._last: tuple[tuple[str, str], tuple[int, int], Tensor, list[str]] | None = None

    def _read(self) -> None:
        """Find the instances of every image in the whole split, whatever part of it is scored."""
        self._manifest = self._data.open_split(self._split, limited=False).manifest
        instances: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
        for place, pair in enumerate(self._manifest):
            self._shown[pair.sample_id], self._category[pair.sample_id] = pair.shown, pair.category
            if not pair.empty:
                instances.setdefault(pair.shown, {}).setdefault(str(pair.rle["counts"]), (place, pair.category))
        self._instances = {shown: list(known.values()) for shown, known in instances.items() if len(known) > 1}

    def add(self, logits: Tensor, batch: Batch) -> None:
        """Count a batch.

        Args:
            logits: (B, 1, h, w) foreground logits; they must be the tensor that is scored.
            batch: the batch with its native truths.
        """
        if not self._shown:
            self._read()
        of_image: dict[tuple[tuple[str, str], tuple[int, int]], list[int]] = {}
        for row, sample_id in enumerate(batch.sample_ids):
            if (shown := self._shown[sample_id]) in self._instances:
                of_image.setdefault((shown, batch.sizes[row]), []).append(row)
        found = []
        for (shown, size), rows in of_image.items():
            decoded, categories = self._decoded(shown, size, logits.device)
            mine = [self._category[batch.sample_ids[row]] for row in rows]
            same = torch.tensor([[one == other for other in categories] for one in mine])
            if logits.device.type == "cuda":
                same = same.pin_memory()  # a copy from ordinary memory would make the host wait
            found.append(ImageInstances(rows, decoded, same.to(logits.device, non_blocking=True)))
        self.integers.update(batch.indices, count_detail(logits, batch, found)[:, None])

    def _decoded(self, shown: tuple[str, str], size: tuple[int, int], device: torch.device) -> tuple[Tensor, list[str]]:
        """The instances of an image (K, H, W) and their categories; evaluation goes image by image: the last is kept.

        An instance whose mask has another size than the truth is left out.
        """
        if self._last is None or self._last[:2] != (shown, size):
            pairs = [(self._manifest[place], category) for place, category in self._instances[shown]]
            kept = [(pair, category) for pair, category in pairs if tuple(pair.rle["size"]) == size]
            stacked = torch.from_numpy(np.stack([masks.decode(pair.rle) for pair, _ in kept]))
            if device.type == "cuda":
                stacked = stacked.pin_memory()
            on_device = stacked.to(device, non_blocking=True) != 0
            self._last = (shown, size, on_device, [category for _, category in kept])
        return self._last[2:]

    def gathered(self) -> NDArray[np.int64]:
        """The integers (N, D) of the samples of all processes, by ascending position in the split."""
        _, counts = self.integers.compute()
        self.integers.reset()
        self._last = None
        return counts.numpy().reshape(-1, len(COLUMNS))


def examples(kinds: Sequence[str], iou: NDArray[np.float64], sample_ids: Sequence[str], each: int = 3) -> list[str]:
    """Choose samples of every kind: those at even distances in the order of their IoU, hence typical ones.

    Args:
        kinds: (N,) kind of each answer.
        iou: (N,) IoU of each sample.
        sample_ids: N ids.
        each: how many of a kind at most.

    Returns:
        ids, by kind.
    """
    chosen: list[str] = []
    for kind in dict.fromkeys(sorted(kinds)):
        rows = sorted((k for k, one in enumerate(kinds) if one == kind), key=lambda k: (iou[k], sample_ids[k]))
        places = sorted({(2 * k + 1) * len(rows) // (2 * each) for k in range(each)})
        chosen += [sample_ids[rows[place]] for place in places]
    return chosen
