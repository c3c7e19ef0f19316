"""Makes the scenes of the boards' gallery: `python -m tools.gallery_scenes`.

The scenes are the first test sample of each category, by sample id. This rule does not depend on any prediction.
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
    """The content of the file of scenes, read from the data set's files."""
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
