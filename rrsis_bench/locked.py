"""Excludes other processes while a block runs, by `flock` on a file. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rrsis_bench.files import refused


@contextmanager
def locked(path: Path, patience: float | None = None) -> Iterator[bool]:
    """Exclude other processes by `flock` on a file while a block runs. The system unlocks what a killed process held.

    Args:
        path: the file, made if it does not exist; its folder exists.
        patience: seconds to wait for another process; None to wait as long as it takes.

    Yields:
        False if the system or the file system has no `flock`, or another process held the lock all the time.

    Raises:
        UserError: the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    try:
        stream = path.open("a")
    except OSError as error:
        raise refused(path, error) from error
    with stream:
        end = None if patience is None else time.monotonic() + patience
        ours = False
        while not ours:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if end is None else fcntl.LOCK_NB))
                ours = True
            except BlockingIOError:
                if end is None or time.monotonic() > end:
                    break
                time.sleep(0.002)
            except OSError:
                break
        yield ours
