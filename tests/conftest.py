"""Makes the tests' own helpers importable from wherever pytest runs: `from tests.helpers.golden import …`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

# A shell that starts the tests in the background lets them ignore Ctrl-C, and every process they start inherits that:
# the tests that interrupt one would wait in vain. What is handled instead is back to its default in a new process.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
