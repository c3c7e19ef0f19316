"""A small data set whose images have several expressions each, not in order of the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.masks import encode
from rrsis_bench.data.pixels import write_image
from rrsis_bench.types import InputSpec

NOUNS = ("ship", "airplane", "bridge", "court", "harbour", "tank", "car", "truck")
COPY, ORIGINAL = 3, 0
"""Image 3 has the pixels of image 0, in a file of another name."""


def write_album(root: Path, images: int = 5, expressions: int = 17, seed: int = 0) -> Path:
    """Write a listing of `expressions` lines for each split; each split has its own `images` images."""
    rng = np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        pictures = [rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) for _ in range(images)]
        pictures[COPY] = pictures[ORIGINAL]
        for number, picture in enumerate(pictures):
            write_image(root / f"images/{split}-{number}.png", picture)
        for line in range(expressions):
            mask = np.zeros((40, 48), np.uint8)
            top, left = rng.integers(0, 20, 2)
            mask[top : top + 15, left : left + 20] = 1
            text = f"the {NOUNS[line % len(NOUNS)]} on the {'left' if line % 3 else 'right'}"
            # The first lines show every image once, so that none is missing.
            shown = line if line < images else int(rng.integers(images))
            named = {"image": f"images/{split}-{shown}.png", "sample_id": f"{split}{line}", "split": split}
            lines.append({**named, "rle": encode(mask), "text": text})
    (root / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return root


def open_album(root: Path, spec: InputSpec, shares: bool, **options: Any) -> ReferringDataModule:
    """The album as a data module, ready for loaders."""
    chosen = {"batch_size": 4, "eval_batch_size": 4, "num_workers": 0, **options}
    data = ReferringDataModule("album", "manifest", str(root), **chosen)
    data.input_spec, data.shares_images = spec, shares
    data.setup()
    return data
