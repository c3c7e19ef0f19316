"""Makes the tests' own helpers importable from wherever pytest runs: `from tests.helpers.golden import …`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
