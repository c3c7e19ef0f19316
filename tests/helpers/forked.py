"""Processes that start with torch and Lightning already imported, which takes a process of its own six seconds."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

import numpy as np
import torch

# What a process of its own would import first: the server imports this module.
from helpers import toy  # noqa: F401
from rrsis_bench import cli  # noqa: F401
from rrsis_bench.engine import fit, score  # noqa: F401

_IMPORTED_BY = os.getpid()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.forked"])
    # The server of Python 3.11 passes over what it cannot import, and its path is that of a new Python.
    with mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}):
        forkserver.ensure_running()
    return context


def _child(main: Callable[[], int], command: list[str], environment: dict[str, str], cwd: str, folder: str) -> None:
    """What the new process does: become the command, as far as a process that was not started by it can."""
    assert os.getppid() == _IMPORTED_BY, "the server has not imported this module, so every process imports it anew"
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = command
    sys.path[:0] = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    multiprocessing.set_start_method(None, force=True)  # loaders start their workers as in any process
    # A process of its own begins with random numbers that nobody knows: a seed that is not set must show.
    random.seed()
    np.random.seed()
    torch.seed()
    try:
        sys.exit(main())
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def run(
    main: Callable[[], int], command: list[str], environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `main` with the words of a command in a process that is forked from one with the imports done.

    The process has its own memory, environment, output and signals. It shares the order of hashes and what the imports
    read with its siblings: a test of these starts a Python of its own.

    Args:
        main: function of a module; returns the exit code.
        command: the program's name and its words, as `sys.argv`.
        environment: the whole environment.
        cwd: working directory; the current one if not given.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (main, command, dict(environment), str(cwd or Path.cwd()), folder)
        process = _context().Process(target=_child, args=arguments)
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, 300)
        written = (Path(folder, name) for name in ("stdout", "stderr"))
        out, errors = (path.read_text(encoding="utf-8") if path.exists() else "" for path in written)
    assert process.exitcode is not None
    return subprocess.CompletedProcess(command, process.exitcode, out, errors)
