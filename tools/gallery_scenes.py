"""Make the scenes of the boards' gallery again: `python -m tools.gallery_scenes`.

The first test sample of each category, in the order of sample ids: a rule that looks at no prediction.
"""

from __future__ import annotations

import base64
from typing import Any

from rrsis_bench.data.catalogue import settings
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.files import write_json
from rrsis_bench.results.gallery import SCENES

DATASET = "tiny"


def make() -> dict[str, Any]:
    """The content of the scenes file, drawn from the data set's own files."""
    located = locate(settings(DATASET))
    test = Manifest.open(ensure_manifest(located), "test")
    chosen: dict[str, Pair] = {}
    for pair in sorted(test, key=lambda pair: pair.sample_id):
        chosen.setdefault(pair.category, pair)
    entries = [
        {
            "sample_id": pair.sample_id,
            "category": pair.category,
            "text": pair.text,
            "size": [pair.height, pair.width],
            "truth": pair.rle["counts"],
            "jpeg": base64.b64encode((located.root / pair.image).read_bytes()).decode("ascii"),
        }
        for pair in sorted(chosen.values(), key=lambda pair: pair.category)
    ]
    return {"dataset": DATASET, "content_hash": test.content_hash(located.root), "scenes": entries}


if __name__ == "__main__":
    write_json(SCENES, make())
    print(f"wrote {SCENES}")
