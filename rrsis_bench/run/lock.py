"""One process at a time in a run folder: a lock file with host, process and heartbeat. No torch.

A lock is dead when its process is gone (same host) or its heartbeat is old (another host). Another process may take a
dead lock over. A heartbeat from the future is old once five minutes have brought no other one. `flock` excludes other
processes for the moment of taking the lock. On a file system without `flock`, a process reads the lock again after half
a second. It gives up if another process has overwritten the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import make_folder, write_json
from rrsis_bench.locked import locked

FILE = "cell.lock"
GUARD = f".{FILE}.guard"
SEEN = f".{FILE}.seen"
"""Where a machine notes a heartbeat of the future, to see later whether another one has come."""
TOKEN = "RRSIS_CELL_LOCK"
"""Environment variable that the runner of a sweep's cell sets for its command: the runner holds the folder already."""
BEAT_SECONDS = 10.0
"""Seconds between two heartbeats: the holder sets the lock's modification time."""
STALE_SECONDS = 300.0
"""Age of a heartbeat, in seconds, after which a lock of another host is dead. Clocks of hosts may differ by minutes."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        namespace: process namespace, which differs between containers with one host name.
        pid: number of the process.
        born: start time of the process in the kernel's ticks; a later process with the same number has another one.
        token: random, new for each time the lock is taken.
        since: time when the lock was taken, in seconds since 1970 (UTC).
    """

    host: str
    namespace: int
    pid: int
    born: str
    token: str
    since: float

    @classmethod
    def me(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _namespace(), pid, _born(pid), uuid.uuid4().hex, time.time())


def holder(folder: Path) -> Holder | None:
    """The living holder of a run folder's lock; None if there is no lock, or a dead one."""
    path = folder / FILE
    found = _read(path)
    if found is None:
        return None
    if (found.host, found.namespace) == (socket.gethostname(), _namespace()):
        return found if _alive(found) else None
    end = _end(folder, found)
    return found if end is not None and time.time() < end else None


def _end(folder: Path, found: Holder) -> float | None:
    """When another host's lock is dead unless a heartbeat comes, UTC seconds by our clock; None for no lock.

    A heartbeat from far in the future was written by a wrong clock, and would lock the folder until that time comes.
    From when we first see it, its holder has as long as any other to write the next one.
    """
    try:
        beat = (folder / FILE).stat().st_mtime
    except OSError:
        return None
    now = time.time()
    if beat <= now + STALE_SECONDS:
        return beat + STALE_SECONDS
    note = {"host": socket.gethostname(), "token": found.token, "beat": beat}
    try:
        seen = json.loads((folder / SEEN).read_text(encoding="utf-8"))
        if {key: seen[key] for key in note} == note and seen["at"] <= now:
            return float(seen["at"]) + STALE_SECONDS
    except (OSError, ValueError, TypeError, KeyError):
        pass  # there is no such note yet, or a broken one
    with contextlib.suppress(UserError):
        write_json(folder / SEEN, {**note, "at": now})
    return now + STALE_SECONDS


def describe(folder: Path, found: Holder) -> str:
    """The holder of a lock, the lock's file, and when a lock of another host is dead, in words."""
    who = f"process {found.pid} on {found.host} ({folder / FILE}"
    if (found.host, found.namespace) == (socket.gethostname(), _namespace()):
        return f"{who})"
    end = _end(folder, found)
    if end is None:
        return f"{who})"
    at = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{who}; without a further sign of life the lock ends at {at}, in {max(round(end - time.time()), 0)} s)"


class CellLock:
    """A lock that this process holds; made by `acquire`."""

    def __init__(self, folder: Path, me: Holder) -> None:
        self.folder, self.me = folder, me
        self._beaten = time.monotonic()

    @classmethod
    def acquire(cls, folder: Path) -> Self | None:
        """Take the lock of a run folder; the folder is created if it does not exist.

        Returns:
            the lock; None if a living process holds it.

        Raises:
            UserError: the folder cannot be written.
        """
        make_folder(folder)
        me = Holder.me()
        with locked(folder / GUARD) as guarded:
            if holder(folder) is not None:
                return None
            write_json(folder / FILE, asdict(me))
        if not guarded:
            time.sleep(0.5)  # time for a process that takes the lock at the same moment to write its own
        lock = cls(folder, me)
        return lock if lock.held() else None

    def held(self) -> bool:
        """Whether the lock is still ours. Another process may take it over while this machine sleeps."""
        found = _read(self.folder / FILE)
        return found is not None and found.token == self.me.token

    def beat(self) -> bool:
        """Write a heartbeat if `BEAT_SECONDS` have passed since the last one.

        Returns:
            whether the lock is still ours, as of the last heartbeat.
        """
        if time.monotonic() - self._beaten < BEAT_SECONDS:
            return True
        self._beaten = time.monotonic()
        if not self.held():
            return False
        with contextlib.suppress(OSError):
            os.utime(self.folder / FILE)
        return True

    def release(self) -> None:
        """Remove the lock, unless another process has taken it over."""
        with locked(self.folder / GUARD):
            if self.held():
                (self.folder / FILE).unlink(missing_ok=True)


def check_free(folder: Path) -> None:
    """Check that no other process works in a run folder. In a sweep's cell, check nothing: the cell's runner holds it.

    Raises:
        UsageError: another process works in the folder; the message names it.
    """
    if os.environ.get(TOKEN) is None and (found := holder(folder)) is not None:
        raise _in_use(folder, describe(folder, found))


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock a run folder while a block runs. In a sweep's cell, do nothing: the cell's runner holds the lock.

    Raises:
        UsageError: another process works in the folder; the message names it.
    """
    if os.environ.get(TOKEN) is not None:
        yield
        return
    lock = CellLock.acquire(folder)
    if lock is None:
        found = holder(folder)
        raise _in_use(folder, "another process" if found is None else describe(folder, found))
    done = threading.Event()

    def beat() -> None:
        while not done.wait(1.0):
            lock.beat()

    thread = threading.Thread(target=beat, name="run folder lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        lock.release()


def _in_use(folder: Path, who: str) -> UsageError:
    return UsageError(f"{folder} is in use by {who}; wait for it, stop it, or choose another --seed or --out.")


def _read(path: Path) -> Holder | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**values)
    except (OSError, ValueError, TypeError):
        return None


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _born(pid: int) -> str:
    """Start time of a process in the kernel's ticks; "" if it is unknown."""
    return _status(pid)[1]


def _status(pid: int) -> tuple[str, str]:
    """State letter and start time of a process; empty if /proc does not show it."""
    try:
        # The name, in parentheses, may itself hold blanks; the state follows it, the start time 19 fields later.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _alive(found: Holder) -> bool:
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it exists, but is another user's
    state, born = _status(found.pid)
    # A zombie (Z) has ended; its parent has yet to read its exit status.
    return state not in {"Z", "X"} and (not born or born == found.born)
