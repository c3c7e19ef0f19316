"""What every test process needs before it starts."""

from __future__ import annotations

import gc
import os
import signal
import sys

# A shell that starts the tests in the background lets them ignore Ctrl-C, and every process they start inherits that:
# the tests that interrupt one would wait in vain. What is handled instead is back to its default in a new process.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers side by side with a thread per core each wait for one another at every barrier: a test of 0.3 s took 12 s.
# Set before anything imports torch, and inherited by the processes the tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# An installation has the bytecode of its modules. Without it, each process that a test starts compiles them anew, and
# the tests of a verb's time measure the compiler.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A tenth of the time went to looking again and again at what is imported once.
gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what there is by now, and look at what the tests make."""
    gc.freeze()
    gc.enable()
