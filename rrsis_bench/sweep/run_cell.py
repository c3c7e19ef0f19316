"""Runs one cell: holds its lock, starts its command, saves its log and state, and stops it. No torch.

The launchers start `python -m rrsis_bench.sweep.run_cell CELL`; CELL is the cell as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from rrsis_bench.errors import UserError
from rrsis_bench.results.provenance import utc_now
from rrsis_bench.run.lock import TOKEN, CellLock
from rrsis_bench.run.state import State
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.cells import judge, unscored
from rrsis_bench.sweep.data_state import DataStates

HELD = 75
"""Exit code: another process runs the cell."""
INTERRUPTED = 130
GRACE_SECONDS = 120.0
"""Seconds that a cell has to save its checkpoint after it was asked to stop."""
_POLL_SECONDS = 0.2


class CellRun:
    """One attempt at a cell.

    Args:
        cell: the cell to run.
        force: start anew, even if the cell is done or can be continued.
        job: the scheduler's job, or "".
        command: program and first words of the command; None for `python -m rrsis_bench`.
        parent: number of the parent process, whose end stops the cell; None to run on without it.
    """

    def __init__(
        self,
        cell: Cell,
        force: bool = False,
        job: str = "",
        command: Sequence[str] | None = None,
        parent: int | None = None,
    ) -> None:
        self.cell, self.force, self.job, self.parent = cell, force, job, parent
        self.command = list(command) if command is not None else [sys.executable, "-m", "rrsis_bench"]
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: float | None = None
        self._lost = False

    def run(self, environment: Mapping[str, str]) -> int:
        """Run the cell to its end.

        Args:
            environment: environment variables of the command.

        Returns:
            0 if the cell is done now or was before, `HELD`, `INTERRUPTED`, or the exit code of the command.
        """
        folder = self.cell.folder
        lock = CellLock.acquire(folder.path)
        if lock is None:
            return HELD
        try:
            verdict = judge(self.cell, DataStates(compute=True), own=lock.me)
            if verdict.state == "done" and not self.force:
                return 0
            state = folder.state()
            if self.force or verdict.state == "outdated":
                folder.set_aside()
                state = None
            state = state or State()
            state.state, state.config_hash, state.job = "running", self.cell.config_hash, self.job
            state.config = self.cell.config
            state.command = shlex.join(["rrsis-bench", *self.cell.words])
            state.host, state.started, state.attempts = lock.me.host, utc_now(), state.attempts + 1
            state.exit_code, state.message = None, ""
            folder.save_state(state)
            before = DataStates(compute=True).state(self.cell.config["data"])
            started = time.monotonic()
            code = self._supervise(lock, environment, self.cell.words)
            if code == 0 and self._asked is None and (left := unscored(self.cell)):
                code = self._supervise(lock, environment, self.cell.perturb_words(left))
            state.seconds = round(state.seconds + time.monotonic() - started, 1)
            if self._lost:
                return HELD  # another process has taken the folder over: write nothing more
            self._conclude(state, code, before)
            folder.save_state(state)
            return 0 if state.state == "done" else INTERRUPTED if state.state == "interrupted" else code or 1
        finally:
            lock.release()

    def stop(self) -> None:
        """Ask the command to save a checkpoint and end; a second call kills it, as does `GRACE_SECONDS` of waiting."""
        if self._asked is None:
            self._asked = time.monotonic()
            if self._child is not None:
                # Signal the first process only: it stops its helpers itself, and needs its data loaders to the end.
                _signal(self._child.pid, signal.SIGINT)
        else:
            self._kill()

    def requeue(self) -> None:
        """Stop the command, wait for its end, and mark the cell as queued again. A signal handler may call it."""
        self.stop()
        end = time.monotonic() + GRACE_SECONDS
        while self._child is not None and time.monotonic() < end and not _ended(self._child.pid):
            time.sleep(_POLL_SECONDS)
        state = self.cell.folder.state()
        if state is not None and state.state == "running":
            state.state, state.message = "queued", "stopped before its time was up, and queued again"
            self.cell.folder.save_state(state)

    def _kill(self) -> None:
        if self._child is not None:
            _signal(self._child.pid, signal.SIGKILL, group=True)

    def _supervise(self, lock: CellLock, environment: Mapping[str, str], words: Sequence[str]) -> int:
        with self.cell.folder.log_path.open("ab") as log:
            log.write(f"# {utc_now()} {shlex.join(['rrsis-bench', *words])}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                [*self.command, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1", TOKEN: lock.me.token},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
            if self._asked is not None:  # a signal came before `_child` was set
                _signal(self._child.pid, signal.SIGINT)
            while True:
                try:
                    return self._child.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    pass
                if not lock.beat():
                    self._lost = True
                    self._kill()
                elif self.parent is not None and os.getppid() != self.parent and self._asked is None:
                    self.stop()
                elif self._asked is not None and time.monotonic() - self._asked > GRACE_SECONDS:
                    self._kill()

    def _conclude(self, state: State, code: int, data_before: str) -> None:
        state.exit_code = code
        folder = self.cell.folder
        if code == 0 and folder.is_finished:
            state.state = "done"
            state.result_sha256 = str(folder.result()["sha256"])
            data_after = DataStates(compute=False).state(self.cell.config["data"])
            # Data that changed during the run: which of the two the result is of, its content hash says.
            state.data_state = data_after if data_after == data_before else ""
        elif code == INTERRUPTED or self._asked is not None:
            state.state, state.message = "interrupted", "stopped"
        else:
            state.state = "failed"
            end = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            line = last_line(folder.log_path) if code >= 0 else ""
            state.message = f"{end}: {line}" if line else end


def last_line(log: Path) -> str:
    """The last `rrsis-bench: error:` line of the present attempt's log, else its last line; at most 500 characters."""
    lines = tail(log)
    errors = [line for line in lines if line.startswith("rrsis-bench: error:")]
    return (errors or lines or [""])[-1].removeprefix("rrsis-bench: error: ")[:500]


def tail(log: Path, size: int = 8192) -> list[str]:
    """The lines of the present attempt within the last `size` bytes of a log, without blank lines."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    starts = [number for number, line in enumerate(lines) if line.startswith("# 2") and " rrsis-bench " in line]
    return [line.strip() for line in lines[starts[-1] + 1 if starts else 0 :] if line.strip()]


def _signal(pid: int, number: signal.Signals, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number) if group else os.kill(pid, number)


def _ended(pid: int) -> bool:
    """Whether a child process has ended. Its exit code stays available for the code that waits for it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _die_with_parent() -> None:
    """Make Linux kill the command when its supervisor is killed: an orphan must not write to the folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cell that is given as JSON."""
    parser = argparse.ArgumentParser(prog="python -m rrsis_bench.sweep.run_cell", description="Run one cell.")
    parser.add_argument("cell", help="the cell as JSON")
    parser.add_argument("--force", action="store_true", help="start anew")
    parser.add_argument("--parent", type=int, help="stop when this process is gone")
    args = parser.parse_args(argv)
    attempt = CellRun(Cell.from_json(args.cell), args.force, parent=args.parent)

    def stop(number: int, frame: FrameType | None) -> None:
        attempt.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        return attempt.run(os.environ)
    except UserError as error:
        print(f"rrsis-bench: error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
