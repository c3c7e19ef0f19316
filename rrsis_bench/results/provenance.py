"""The provenance of a result: code, command, machine, versions, times. No torch."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rrsis_bench._version import __version__
from rrsis_bench.paths import PACKAGE

LIBRARIES = (
    "torch", "torchvision", "lightning", "torchmetrics", "transformers", "open_clip_torch", "segment-anything", "timm",
    "albumentations", "peft", "jsonargparse", "pycocotools", "safetensors", "numpy", "pillow", "opencv-python-headless",
)  # fmt: skip


def utc_now() -> str:
    """The present time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha256_text(text: str) -> str:
    """sha256 of a text's UTF-8 bytes, as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _git(*words: str) -> bytes | None:
    command = ["git", "-C", str(PACKAGE.parent), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def git_state() -> dict[str, Any]:
    """Commit of the project's checkout (`sha`), whether tracked files differ from it (`dirty`), and a hash of the diff.

    All values are None without git, and for an installed package: a repository that holds the environment is not ours.
    """
    unknown: dict[str, Any] = {"sha": None, "dirty": None, "diff_sha256": None}
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(os.fsdecode(top.rstrip(b"\n"))).resolve() != PACKAGE.parent:
        return unknown
    sha, diff = _git("rev-parse", "HEAD"), _git("diff", "HEAD", "--binary")
    if sha is None or diff is None:
        return unknown
    dirty = bool(diff)
    return {
        "sha": sha.decode().strip(),
        "dirty": dirty,
        "diff_sha256": hashlib.sha256(diff).hexdigest() if dirty else None,
    }


def versions() -> dict[str, str]:
    """Versions of the installed libraries that the scores depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str | None:
    """Model name of the processor; None if the system does not state it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


@dataclass(frozen=True)
class Start:
    """Time and code of a run's beginning. Make it when the run begins: later edits and commits are not what ran.

    Attributes:
        time: what `utc_now` returned.
        git: what `git_state` returned.
    """

    time: str = field(default_factory=utc_now)
    git: dict[str, Any] = field(default_factory=git_state)


def provenance(
    *,
    config_yaml: str = "",
    command: Sequence[str] | None = None,
    started: Start | None = None,
    gpus: Sequence[str] = (),
) -> dict[str, Any]:
    """The provenance block of a result.

    Args:
        config_yaml: text of the resolved configuration.
        command: words of the command line; None for those of this process.
        started: time and code of the run's beginning; None if nothing ran: then the present code is stated.
        gpus: names of the GPUs that the run used.
    """
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else list(command)
    return {
        "package": __version__,
        "git": started.git if started else git_state(),
        "command": shlex.join(words),
        "config_sha256": sha256_text(config_yaml) if config_yaml else None,
        "started": started.time if started else None,
        "finished": utc_now(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "gpus": list(gpus),
    }
