"""The `slurm` launcher submits job arrays by submitit (`pip install 'rrsis-bench[slurm]'`), one for equal resources.

A job runs a cell as the local launcher does, under the same lock. SLURM signals submitit before the job's time is up,
or when it preempts the job. Submitit lets the cell save a checkpoint, and queues the job again. Lightning would queue
it a second time, so the command gets no `SLURM_*` variables. On several nodes (`trainer.num_nodes`), each node starts
its processes by torchrun.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from types import FrameType
from typing import Any

from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import write_text
from rrsis_bench.run.lock import CellLock
from rrsis_bench.run.state import State
from rrsis_bench.sweep.cell import Cell
from rrsis_bench.sweep.grid import Sweep
from rrsis_bench.sweep.launchers.base import Launcher
from rrsis_bench.sweep.run_cell import CellRun

_DEFAULTS = {"timeout_min": 24 * 60, "cpus_per_task": 4}
_REQUEUES = 100
_JOIN_SECONDS = 600
"""Seconds that the further nodes of a cell wait for the first node to begin."""


class CellJob:
    """The callable that submitit pickles, and calls in the job.

    Args:
        cell: the cell.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._attempt: CellRun | None = None

    def __call__(self) -> int:
        """Run the cell on its first node; on its further nodes, join that run."""
        from submitit import JobEnvironment

        job = JobEnvironment()
        command = None
        if job.num_nodes > 1:
            command = torchrun_words(
                self.cell.config["trainer"], job.num_nodes, job.hostnames[0], os.environ["SLURM_JOB_ID"]
            )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment["PYTHONWARNINGS"] = "ignore:The `srun` command is available"  # Lightning would advise to use SLURM
        self._attempt = CellRun(self.cell, job=str(job.job_id), command=command)
        signal.signal(signal.SIGTERM, self._stop)
        if job.global_rank > 0 and command is not None:
            return self._join(str(job.job_id), command, environment)
        return self._attempt.run(environment)

    def checkpoint(self) -> Any:
        """Save a checkpoint, end, and queue the job again. Submitit calls this before the job's time is up."""
        from submitit.helpers import DelayedSubmission

        if self._attempt is not None:
            self._attempt.requeue()
        return DelayedSubmission(CellJob(self.cell))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._attempt is not None:
            self._attempt.stop()

    def _join(self, job: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
        end = time.monotonic() + _JOIN_SECONDS
        while time.monotonic() < end:
            state = self.cell.folder.state()
            if state is not None and state.state == "running" and state.job == job:
                return subprocess.run([*command, *self.cell.words], env=dict(environment), check=False).returncode
            time.sleep(1)
        return 0


def torchrun_words(trainer: Mapping[str, Any], nodes: int, head: str, job: str) -> list[str]:
    """The first words of the command that starts this node's processes of a run on several nodes.

    Args:
        trainer: the `trainer` block; `devices` is the number of processes per node.
        nodes: number of nodes.
        head: host name of the first node.
        job: id of the job, which also determines the port.
    """
    devices = trainer.get("devices", 1)
    count = len(devices) if isinstance(devices, list) else "gpu" if str(devices) in {"auto", "-1"} else str(devices)
    port = 20_000 + int("".join(filter(str.isdigit, job)) or 0) % 20_000
    return [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={count}",
        f"--rdzv-id={job}", "--rdzv-backend=c10d", f"--rdzv-endpoint={head}:{port}", "-m", "rrsis_bench",
    ]  # fmt: skip


def resources(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """The parameters of a cell's job: those that its configuration implies, overridden by the sweep's `slurm` block."""
    trainer = cell.config["trainer"]
    implied: dict[str, Any] = {**_DEFAULTS, "nodes": int(trainer.get("num_nodes") or 1), "tasks_per_node": 1}
    devices = trainer.get("devices", 1)
    if trainer.get("accelerator") in {"gpu", "cuda"} and isinstance(devices, int) and devices > 0:
        implied["gpus_per_node"] = devices
    return {**implied, **sweep.slurm}


class SlurmLauncher(Launcher):
    """Queues cells, one job array for all cells with equal resources."""

    def lines(self, cells: Sequence[Cell]) -> list[str]:
        """Each cell's command, and the parameters of its job."""
        asked = [resources(self.orders.sweep, cell) for cell in cells]
        words = [", ".join(f"{key}={value}" for key, value in sorted(block.items())) for block in asked]
        return [f"{line}\n    job: {job}" for line, job in zip(super().lines(cells), words, strict=True)]

    def start(self, cells: Sequence[Cell]) -> Mapping[str, int]:
        """Queue the cells, except those that another process runs.

        Raises:
            UsageError: submitit is not installed, or does not know a parameter.
            UserError: this machine has no SLURM, or SLURM refuses the jobs.
        """
        sweep = self.orders.sweep
        for name, job in _submit(sweep, cells, self.orders.anew).items():
            print(f"queued {name} as job {job}")
        print(f"see their states: rrsis-bench status {sweep.path}")
        return {}

    @classmethod
    def poll(cls) -> set[str] | None:
        """Ids of all jobs in SLURM's queue, one for each array task; None if `squeue` is missing or fails."""
        if shutil.which("squeue") is None:
            return None
        try:
            done = subprocess.run(
                ["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return set(done.stdout.split()) if done.returncode == 0 else None


def _submit(sweep: Sweep, cells: Sequence[Cell], anew: frozenset[str]) -> dict[str, str]:
    if find_spec("submitit") is None:
        raise UsageError("--launcher slurm needs submitit: pip install 'rrsis-bench[slurm]'.")
    if shutil.which("sbatch") is None:
        raise UserError("--launcher slurm: there is no sbatch on this machine; run it on a login node, or use print.")
    kinds: dict[str, list[Cell]] = {}
    for cell in cells:
        kinds.setdefault(repr(sorted(resources(sweep, cell).items())), []).append(cell)
    jobs: dict[str, str] = {}
    for kind in kinds.values():
        jobs |= _submit_array(sweep, kind, anew)
    return jobs


def _submit_array(sweep: Sweep, cells: Sequence[Cell], anew: frozenset[str]) -> dict[str, str]:
    import submitit

    folder = sweep.runs / ".sweeps" / sweep.name / "slurm"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=_REQUEUES)
        executor.update_parameters(name=f"rrsis-{sweep.name}"[:60], **resources(sweep, cells[0]))
    except Exception as error:  # submitit raises NameError, TypeError, ValueError and its own alike
        raise UsageError(f"{sweep.path}: slurm: {' '.join(str(error).split())}") from error
    queued = [(cell, before) for cell in cells if (before := _mark(cell, cell.name in anew)) is not None]
    try:
        with executor.batch():
            jobs = [executor.submit(CellJob(cell)) for cell, _ in queued]
    except Exception as error:
        for cell, before in queued:
            cell.folder.save_state(before) if before.state != "missing" else cell.folder.forget_state()
        raise UserError(f"SLURM refuses the jobs: {' '.join(str(error).split())[-300:]}") from error
    found = {cell.name: str(job.job_id) for (cell, _), job in zip(queued, jobs, strict=True)}
    for cell, _ in queued:
        # The job may already write the state, so its id has a file of its own.
        write_text(cell.folder.job_path, found[cell.name] + "\n")
    return found


def _mark(cell: Cell, anew: bool) -> State | None:
    """Mark a cell as queued.

    Returns:
        the state before; None if another process runs the cell.
    """
    lock = CellLock.acquire(cell.folder.path)
    if lock is None:
        return None
    try:
        if anew:
            cell.folder.set_aside()
        before = cell.folder.state() or State()
        after = replace(
            before, state="queued", launcher="slurm", config_hash=cell.config_hash, config=cell.config, message=""
        )
        cell.folder.save_state(after)
        return before
    finally:
        lock.release()
