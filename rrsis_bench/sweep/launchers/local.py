"""The `local` launcher runs cells on this machine: one per visible GPU, or one at a time on the CPU. No torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rrsis_bench.files import make_folder
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.launchers.base import Launcher
from rrsis_bench.sweep.monitor import Monitor

_POLL_SECONDS = 0.25


@dataclass
class Worker:
    """A running cell.

    Attributes:
        cell: the cell.
        process: the process of `run_cell` that supervises it.
        slots: the GPUs that the cell occupies; on the CPU, the name of its slot.
        started: monotonic time of the start, in seconds.
    """

    cell: Cell
    process: subprocess.Popen[bytes]
    slots: tuple[str, ...]
    started: float


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; empty if there is none.

    `nvidia-smi` lists them, since importing torch takes seconds and memory on the device. Of a GPU that is divided
    (MIG), each part counts.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in {"", "-1"}]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_devices(done.stdout) if done.returncode == 0 else []


def parse_devices(listing: str) -> list[str]:
    """Devices in the output of `nvidia-smi -L`: the number of each GPU, or the ids of the parts of a divided one."""
    found: list[list[str]] = []
    for line in listing.splitlines():
        whole = re.match(r"GPU (\d+):", line)
        part = re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)
        if whole:
            found.append([whole[1]])
        elif part and found:
            parts = [name for name in found[-1] if name.startswith("MIG-")]
            found[-1] = [*parts, part[1]]
    return [name for names in found for name in names]


class LocalLauncher(Launcher):
    """Runs cells in order, each in a process of its own, as many at a time as there are slots.

    `Orders.workers` is the number of slots. By default there is one slot for each visible GPU, or one on the CPU.
    """

    def start(self, cells: Sequence[Cell]) -> dict[str, int]:
        """Run all cells to their ends, and show their progress.

        Returns:
            cell name -> exit code.

        Raises:
            KeyboardInterrupt: the user pressed Ctrl-C, and all workers have saved and ended.
        """
        on_cpu = all(cell.config["trainer"].get("accelerator") == "cpu" for cell in cells)
        self.devices = [] if on_cpu else visible_devices()
        count = self.orders.workers or max(1, len(self.devices))
        self.free = [self.devices[k % len(self.devices)] if self.devices else f"cpu {k}" for k in range(count)]
        self.threads = max(1, _cores() // count)
        self.running: list[Worker] = []
        self.monitor = Monitor(len(cells), self.orders.estimates)
        try:
            return self._run(cells)
        finally:
            self.monitor.close()

    def _run(self, cells: Sequence[Cell]) -> dict[str, int]:
        waiting = list(cells)
        codes: dict[str, int] = {}
        try:
            while waiting or self.running:
                # Strictly in order: otherwise small cells would overtake one that needs several devices for ever.
                while waiting and (slots := self._take(self._need(waiting[0]))):
                    self._start(waiting.pop(0), slots)
                time.sleep(_POLL_SECONDS)
                codes |= self._collect()
                self.monitor.tick()
        except KeyboardInterrupt:
            self._stop_all(codes)
            raise
        return codes

    def _need(self, cell: Cell) -> int:
        """The number of devices that a cell needs, at most the number of all devices."""
        if not self.devices:
            return 1
        everything = len(set(self.devices))
        asked = cell.config["trainer"].get("devices", 1)
        if isinstance(asked, list):
            return min(len(asked), everything)
        return everything if str(asked) in {"auto", "-1"} else min(int(asked), everything)

    def _take(self, need: int) -> tuple[str, ...]:
        distinct = list(dict.fromkeys(self.free))
        if len(distinct) < need:
            return ()
        for slot in distinct[:need]:
            self.free.remove(slot)
        return tuple(distinct[:need])

    def _start(self, cell: Cell, slots: tuple[str, ...]) -> None:
        environment = {"OMP_NUM_THREADS": str(self.threads), **os.environ}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(slots)
        words = [sys.executable, "-m", "rrsis_bench.sweep.run_cell", cell.to_json(), "--parent", str(os.getpid())]
        make_folder(cell.folder.path)
        with cell.folder.log_path.open("ab") as log:
            # With a session of its own, the cell gets no Ctrl-C from the terminal; `_stop_all` stops it.
            process = subprocess.Popen(
                [*words, *(["--force"] if self.orders.force else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.running.append(Worker(cell, process, slots, time.monotonic()))
        self.monitor.start(cell, ", ".join(f"GPU {slot}" if self.devices else slot for slot in slots))

    def _collect(self) -> dict[str, int]:
        codes = {}
        for worker in list(self.running):
            code = worker.process.poll()
            if code is None:
                continue
            self.running.remove(worker)
            self.free += worker.slots
            codes[worker.cell.name] = code
            self.monitor.end(worker.cell, code, time.monotonic() - worker.started)
        return codes

    def _stop_all(self, codes: dict[str, int]) -> None:
        """Ask the workers to save a checkpoint and end; a second Ctrl-C kills them."""
        self.monitor.note(f"stopping {len(self.running)} cells at their next step; Ctrl-C again stops them at once")
        for worker in self.running:
            worker.process.terminate()
        while self.running:
            try:
                time.sleep(_POLL_SECONDS)
                codes |= self._collect()
                self.monitor.tick()
            except KeyboardInterrupt:
                for worker in self.running:
                    worker.process.terminate()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such function
        return os.cpu_count() or 1
