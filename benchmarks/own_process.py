"""A row of a table that a process of its own measures, so that its peak memory is of this row alone."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any


def measured(script: str, *words: str) -> dict[str, Any]:
    """Run a script in a process of its own.

    Args:
        script: path of the script; its last line of output is a JSON object.
        words: its command line.

    Returns:
        the object.
    """
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def peak_bytes() -> int:
    """Peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
