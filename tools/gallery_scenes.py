"""Make the scenes of the boards' gallery again: `python -m tools.gallery_scenes`.

The first test sample of each category, in the order of sample ids: a rule that looks at no prediction.
"""

from __future__ import annotations

import base64
from typing import Any

from rrsis_bench.config import find, load_yaml
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.prepare import ensure_manifest, locate
from rrsis_bench.files import write_json
from rrsis_bench.results.gallery import SCENES

DATASET = "tiny"


def make() -> dict[str, Any]:
    """The content of the scenes file, drawn from the data set's own files."""
    located = locate({**load_yaml(find("datasets", DATASET))["data"], "dataset": DATASET})
    test = Manifest.open(ensure_manifest(located), "test")
    chosen: dict[str, Pair] = {}
    for record in sorted(test, key=lambda record: record.sample_id):
        chosen.setdefault(record.category, record)
    entries = [
        {
            "sample_id": record.sample_id,
            "category": record.category,
            "text": record.text,
            "size": [record.height, record.width],
            "truth": record.rle["counts"],
            "jpeg": base64.b64encode((located.root / record.image).read_bytes()).decode("ascii"),
        }
        for record in sorted(chosen.values(), key=lambda record: record.category)
    ]
    return {"dataset": DATASET, "content_hash": test.content_hash(located.root), "scenes": entries}


if __name__ == "__main__":
    write_json(SCENES, make())
    print(f"wrote {SCENES}")
