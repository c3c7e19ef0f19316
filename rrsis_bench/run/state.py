"""The state of a sweep's cell, which its runner saves in the run folder. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

from rrsis_bench.config import Config
from rrsis_bench.files import write_json


@dataclass
class State:
    """The state of a sweep's cell.

    Attributes:
        state: `missing`, `queued`, `running`, `done`, `failed` or `interrupted`.
        config_hash: hash of the configuration that the cell was run with.
        config: that configuration, kept to name later changes of it.
        command: the cell's command line.
        host: name of the machine that ran the cell.
        job: the scheduler's job, or "".
        launcher: name of the launcher that queued the cell.
        attempts: number of times the cell was started.
        started: UTC time of the last start.
        seconds: wall-clock time of all attempts that ended.
        exit_code: exit code of the last attempt; None while it runs.
        message: why the last attempt ended, in one line.
        result_sha256: checksum of the result that the cell made.
        data_state: state of the data that the result was made from.
    """

    state: str = "missing"
    config_hash: str = ""
    config: Config = field(default_factory=dict)
    command: str = ""
    host: str = ""
    job: str = ""
    launcher: str = "slurm"
    attempts: int = 0
    started: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    message: str = ""
    result_sha256: str = ""
    data_state: str = ""

    def write(self, path: Path) -> None:
        """Write the state file atomically."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The state in a file; None if the file is missing or unreadable."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = {entry.name for entry in fields(cls)}
            return cls(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
