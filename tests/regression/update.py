"""Measure every registered method's golden values anew. Look at the difference before committing it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)]

from helpers.regression import GOLDEN, measure  # noqa: E402
from rrsis_bench.registry import BUILT_IN  # noqa: E402

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in sys.argv[1:] or sorted(BUILT_IN):
        values = measure(name)
        (GOLDEN / f"{name}.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(name, values)
