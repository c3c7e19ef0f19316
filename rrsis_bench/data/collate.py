"""A batch is stacked from items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rrsis_bench.data.dataset import Item
from rrsis_bench.types import Batch, TextTokens


def collate(items: Sequence[Item], shares_images: bool = False) -> Batch:
    """Stack items; native truths are zero-padded right and bottom to the largest of the batch.

    Args:
        items: B samples of one data set.
        shares_images: keep an image that several items hold (the same array) once, and say which sample sees which.

    Returns:
        the batch, on the CPU.
    """
    parts = {name: [item.tokens.parts[name] for item in items] for name in items[0].tokens.parts}
    tokens = TextTokens(
        torch.tensor([item.tokens.ids for item in items], dtype=torch.int64),
        torch.tensor([item.tokens.mask for item in items], dtype=torch.bool),
        {name: torch.tensor(values) for name, values in parts.items()},
    )
    truths = [item.truth for item in items if item.truth is not None]
    padded = None
    if truths:
        height, width = max(truth.shape[0] for truth in truths), max(truth.shape[1] for truth in truths)
        padded = torch.zeros((len(truths), height, width), dtype=torch.uint8)
        for place, truth in zip(padded, truths, strict=True):
            place[: truth.shape[0], : truth.shape[1]] = torch.from_numpy(np.ascontiguousarray(truth))
    shown, image_of = list(items), None
    if shares_images:
        different = {id(item.image): item for item in items}
        rows = {key: row for row, key in enumerate(different)}
        shown, image_of = list(different.values()), torch.tensor([rows[id(item.image)] for item in items])
    keys = tuple(item.image_key for item in shown)
    return Batch(
        images=torch.from_numpy(np.stack([item.image for item in shown])),
        masks=torch.from_numpy(np.stack([item.mask for item in items])),
        tokens=tokens,
        texts=tuple(item.text for item in items),
        categories=tuple(item.category for item in items),
        sample_ids=tuple(item.sample_id for item in items),
        image_ids=tuple(item.image_id for item in items),
        indices=torch.tensor([item.index for item in items], dtype=torch.int64),
        truths=padded,
        sizes=tuple((truth.shape[0], truth.shape[1]) for truth in truths),
        image_of=image_of,
        image_keys=keys if all(keys) else (),
    )
