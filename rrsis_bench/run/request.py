"""What a user asks for when a run is to be made, scored or looked at: names, files and values. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

NAMES = ("method", "dataset", "variant", "trainer", "protocol", "recipe")
"""Choices that stand for configuration files."""


@dataclass(frozen=True)
class RunRequest:
    """A run as the command line, the Python API and a sweep ask for it. `resolve` says what it means.

    Attributes:
        method: registry name; None where `run` or a file names it.
        dataset: data set by name; None for what a file names, else `tiny`.
        variant: the method's variant; None for the one meant for the data set.
        trainer: trainer preset by name; None for any one device.
        recipe: the method's way of training, by name.
        protocol: name of the protocol that chooses the checkpoint.
        seed: of everything random.
        files: the user's own configuration files; a later file wins over an earlier one.
        values: configuration values by dotted key (`trainer.max_epochs`); they win over everything else.
        run: a run folder whose saved configuration is the start, in place of names.
        out: the run folder to write; None for the usual place.
        logger: a further logger (`wandb`), or None.
    """

    method: str | None = None
    dataset: str | None = None
    variant: str | None = None
    trainer: str | None = None
    recipe: str | None = None
    protocol: str | None = None
    seed: int | None = None
    files: tuple[Path, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    run: Path | None = None
    out: Path | None = None
    logger: str | None = None

    def choice_words(self) -> list[str]:
        """The command line's words for everything but `values`."""
        words: list[str] = []
        for name in (*NAMES, "seed", "run", "out", "logger"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", str(value)]
        return words + [word for file in self.files for word in ("--config", str(file))]

    def value_words(self) -> list[str]:
        """The command line's words for `values`."""
        return [f"--{key}={as_word(value)}" for key, value in self.values.items()]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for another process."""
        return json.loads(json.dumps({entry.name: getattr(self, entry.name) for entry in fields(self)}, default=str))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The request that `to_json` gave the values of."""
        paths = {name: Path(plain[name]) for name in ("run", "out") if plain[name] is not None}
        return cls(**{**plain, **paths, "files": tuple(map(Path, plain["files"]))})


def as_word(value: Any) -> str:
    """A value as it stands on the command line, which is read as YAML."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
