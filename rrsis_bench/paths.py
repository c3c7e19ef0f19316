"""The folders of configurations, data, runs and cache, which environment variables may set. No torch.

| variable | default | holds |
|---|---|---|
| `RRSIS_DATA` | `data` | the real data sets, one folder each |
| `RRSIS_RUNS` | `runs` | what `fit` and `test` write |
| `RRSIS_CACHE` | `~/.cache/rrsis_bench` | the generated splits and the manifests |
| `RRSIS_CONFIGS` | – | your own configuration folders, searched first; `:` separates them |
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """The folder that holds the real data sets."""
    return Path(os.environ.get("RRSIS_DATA", "data")).expanduser()


def runs_root() -> Path:
    """The folder that holds the run folders."""
    return Path(os.environ.get("RRSIS_RUNS", "runs")).expanduser()


def cache_root() -> Path:
    """The folder for files that the suite can make again: generated splits and manifests."""
    return Path(os.environ.get("RRSIS_CACHE", "~/.cache/rrsis_bench")).expanduser()


def config_folders() -> list[Path]:
    """Existing configuration folders, in search order.

    The order is `RRSIS_CONFIGS`, `./configs`, the repository's `configs`, the installed package's.
    """
    named = [Path(part).expanduser() for part in os.environ.get("RRSIS_CONFIGS", "").split(os.pathsep) if part]
    candidates = [*named, Path("configs"), PACKAGE.parent / "configs", PACKAGE / "_configs"]
    found: list[Path] = []
    for folder in candidates:
        resolved = folder.resolve()
        if resolved.is_dir() and resolved not in found and (folder in named or (resolved / "base.yaml").is_file()):
            found.append(resolved)
    return found
