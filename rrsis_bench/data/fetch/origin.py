"""Where the files of a data set's folder were fetched from. The record holds while no file changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rrsis_bench.files import json_text, write_text

NAME = "rrsis-origin.json"


@dataclass(frozen=True)
class Origin:
    """What was fetched into a folder.

    Attributes:
        repository: `OWNER/NAME` on the hub.
        revision: the commit.
        licence: what the repository's card says, or "".
        files: name in the repository -> sha256.
        identity: of the data set's files (see `FileState.identity`); "" where the layout is not the expected one.
    """

    repository: str
    revision: str
    licence: str
    files: Mapping[str, str]
    identity: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"

    def write(self, path: Path) -> None:
        """Write the record. Raises what `files.atomic` raises."""
        write_text(path, json_text(asdict(self)))


def read(folder: Path) -> Origin | None:
    """The origin that is recorded in a folder; None if there is no record, or it is damaged."""
    return parse(folder / NAME)


def parse(path: Path) -> Origin | None:
    """The origin that a file records; None if there is no record, or it is damaged."""
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in held.pop("files").items()}
        texts = {str(key): str(value) for key, value in held.items()}
        return Origin(files=files, **texts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
