"""What the runner of a cell notes in its run folder. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

from rrsis_bench.config import Config
from rrsis_bench.files import write_json


@dataclass
class State:
    """How far a cell of a sweep has come.

    Attributes:
        state: `queued`, `running`, `done`, `failed` or `interrupted`.
        config_hash: of the cell as it was run.
        config: that configuration, to name what has changed since.
        command: its command line.
        host: where it ran.
        job: the scheduler's job, or "".
        launcher: that queued it.
        attempts: how often it was started.
        started: UTC time of the last start.
        seconds: of all attempts that ended, wall clock.
        exit_code: of the last attempt; None while it runs.
        message: why it ended, in one line.
        result_sha256: the checksum of the result it made.
        data_state: the state of the data it was made from.
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
        """The state in a file; None where there is none that can be read."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = {entry.name for entry in fields(cls)}
            return cls(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
