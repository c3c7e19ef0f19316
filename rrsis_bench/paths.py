"""Where things are looked for: configurations, data, runs, cache. No torch, no work at import.

| variable | default | holds |
|---|---|---|
| `RRSIS_DATA` | `data` | the real data sets, one folder each |
| `RRSIS_RUNS` | `runs` | what `fit` and `test` write |
| `RRSIS_CACHE` | `~/.cache/rrsis_bench` | generated tiny split, manifests |
| `RRSIS_CONFIGS` | – | further configuration folders, searched first (separated by `:`) |
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_root() -> Path:
    """Folder that holds the real data sets."""
    return Path(os.environ.get("RRSIS_DATA", "data")).expanduser()


def runs_root() -> Path:
    """Folder that runs are written under."""
    return Path(os.environ.get("RRSIS_RUNS", "runs")).expanduser()


def cache_root() -> Path:
    """Folder for what can be made again: the generated split and manifests."""
    return Path(os.environ.get("RRSIS_CACHE", "~/.cache/rrsis_bench")).expanduser()


def config_folders() -> list[Path]:
    """Configuration folders in search order: `RRSIS_CONFIGS`, `./configs`, the repository, the installed package."""
    named = [Path(part).expanduser() for part in os.environ.get("RRSIS_CONFIGS", "").split(os.pathsep) if part]
    candidates = [*named, Path("configs"), PACKAGE.parent / "configs", PACKAGE / "_configs"]
    found: list[Path] = []
    for folder in candidates:
        resolved = folder.resolve()
        if resolved.is_dir() and resolved not in found and (folder in named or (resolved / "base.yaml").is_file()):
            found.append(resolved)
    return found
