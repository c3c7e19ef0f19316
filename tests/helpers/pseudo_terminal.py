"""A pseudo-terminal that a process writes to."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping, Sequence


def run_in_terminal(
    command: Sequence[str], environment: Mapping[str, str], columns: int, errors: bool = False
) -> tuple[str, int]:
    """Run a command in a terminal of 50 lines.

    Returns:
        what it wrote to the terminal, and its exit code. Its errors go there too if `errors` is set.
    """
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        command, stdout=theirs, stdin=theirs, stderr=theirs if errors else None, env={**environment, "TERM": "xterm"}
    )
    os.close(theirs)
    blocks = []
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:
            break
        if not block:
            break
        blocks.append(block)
    os.close(ours)
    return b"".join(blocks).decode(errors="replace"), process.wait()
