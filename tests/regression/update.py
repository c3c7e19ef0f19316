"""Measure the registered methods' golden values anew: `update.py [--start] [METHOD ...]`.

`--start` measures the first losses and the logits only, and keeps the score. Look at the difference before you commit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)]

from helpers.regression import GOLDEN, STEPS, measure_score, measure_start  # noqa: E402
from rrsis_bench.registry import BUILT_IN  # noqa: E402

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    words = sys.argv[1:]
    for name in [word for word in words if word != "--start"] or sorted(BUILT_IN):
        path = GOLDEN / f"{name}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and "--start" in words else {}
        values = {key: kept[key] for key in ("oiou", "steps") if key in kept and name in STEPS}
        if name in STEPS and not values:
            values = {"oiou": measure_score(name), "steps": STEPS[name]}
        values |= measure_start(name)
        path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(name, values)
