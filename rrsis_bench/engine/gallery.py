"""Collects a run's masks of the gallery's scenes while the scenes are scored."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from rrsis_bench.data.masks import encode
from rrsis_bench.metrics.counts import binarise
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.results.gallery import wanted
from rrsis_bench.types import Batch


class GalleryKeeper:
    """Collects the native-size predictions of some samples, and ignores all other samples.

    Args:
        dataset: name of the data set, whose gallery names the samples; if it has no gallery, nothing is collected.
        sample_ids: ids of other samples to collect in place of the gallery's.
    """

    def __init__(self, dataset: str, sample_ids: Collection[str] | None = None) -> None:
        self._wanted = wanted(dataset) if sample_ids is None else frozenset(sample_ids)
        self._kept: dict[str, str] = {}

    def keep(self, logits: Tensor, batch: Batch, input_size: tuple[int, int]) -> None:
        """Collect the predictions of a batch's samples that the gallery shows.

        Args:
            logits: (B, 1, h, w) foreground logits; they must be the tensor that is scored.
            batch: the batch, for its ids and native sizes.
            input_size: (height, width) of the method's input in pixels.
        """
        for position, sample_id in enumerate(batch.sample_ids):
            if sample_id in self._wanted:
                part = logits[position : position + 1].float()
                mask = binarise(part, batch.sizes[position], input_size, NATIVE)[0]
                self._kept[sample_id] = encode(mask.cpu().numpy())["counts"]

    def gathered(self) -> dict[str, str]:
        """Sample id -> COCO RLE counts, from all processes. Every process must call this method."""
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return dict(self._kept)
        parts: list[dict[str, str]] = [{}] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self._kept)
        return {key: value for part in parts for key, value in part.items()}
