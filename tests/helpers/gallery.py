"""A run with predictions on the gallery's scenes."""

from __future__ import annotations

import numpy as np

from helpers.results import make_result, make_table
from rrsis_bench.data.masks import decode, encode
from rrsis_bench.results import gallery, record
from rrsis_bench.run.folder import RunFolder

KNOWN = gallery.bundled()


def shifted(counts: str, size: tuple[int, int], by: int = 3) -> np.ndarray:
    return np.roll(decode({"size": list(size), "counts": counts}), by, axis=1)


def gallery_run(root, method="lavt", by=3, seed=0, n=25):
    """Make a run on the gallery's scenes whose predictions are the truth, moved `by` pixels to the right."""
    predictions = {scene.sample_id: shifted(scene.truth, scene.size, by) for scene in KNOWN.scenes}
    table = make_table(n, seed=seed)
    counts = table.counts.copy()
    for row, scene in enumerate(KNOWN.scenes):
        truth = decode({"size": list(scene.size), "counts": scene.truth})
        pred = predictions[scene.sample_id]
        counts[row, :] = [truth.sum(), pred.sum(), (truth & pred).sum()]
    ids = [scene.sample_id for scene in KNOWN.scenes] + [f"x{k}" for k in range(n - len(KNOWN.scenes))]
    sizes = {"height": [128] * n, "width": [128] * n}
    table = make_table(n, seed=seed, sample_id=ids, counts=counts, **sizes)
    result = make_result(table, method=method, seed=seed)
    result["dataset"]["content_hash"] = KNOWN.content_hash
    folder = root / "tiny" / f"{method}@tiny" / f"seed{seed}"
    pictures = gallery.text_of({key: encode(mask)["counts"] for key, mask in predictions.items()})
    record.write_run(RunFolder(folder), result, table, "a: 1\n", pictures)
    return folder
