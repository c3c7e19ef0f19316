"""Remembers what a file of the hub was when this machine first used it: its commit and its digest.

A branch of the hub may move. A name such as `hub:OWNER/REPO/FILE@main` therefore means the commit that it meant first,
until somebody deletes the record, a small JSON file in `$RRSIS_CACHE/weights-seen/`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from rrsis_bench.errors import MissingResourceError
from rrsis_bench.files import make_folder, write_json
from rrsis_bench.paths import cache_root


@dataclass(frozen=True)
class Seen:
    """A file as it was used first.

    Attributes:
        name: the file's name in configurations, with its revision.
        commit: id of the hub's commit, or "" if the cache does not tell.
        sha256: hex digest of the file.
        size: bytes.
        changed_ns: time of the file's last change.
    """

    name: str
    commit: str
    sha256: str
    size: int
    changed_ns: int

    @classmethod
    def read(cls, name: str) -> Self | None:
        """The record of a file; None if there is none.

        Raises:
            MissingResourceError: the record is damaged.
        """
        path = record(name)
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise MissingResourceError(f"{path} is damaged; delete it, and the file is recorded anew.") from error

    def write(self) -> None:
        """Keep the record."""
        make_folder(record(self.name).parent)
        write_json(record(self.name), asdict(self))

    def looks_like(self, path: Path) -> bool:
        """Whether a file has the size and the time of the one that was recorded."""
        found = path.stat()
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed_ns)


def record(name: str) -> Path:
    """The file that holds the record of a name."""
    return cache_root() / "weights-seen" / f"{sha256(name.encode()).hexdigest()[:16]}.json"
