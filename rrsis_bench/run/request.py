"""What a user asks for when a run is to be made or scored: names, files and values. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

NAMES = ("method", "dataset", "variant", "trainer", "protocol", "recipe")
"""Fields of a request that hold a name; `resolve` maps each to a block of configuration."""


@dataclass(frozen=True)
class RunRequest:
    """A run as the command line, the Python API or a sweep requests it; `resolve` makes its configuration.

    Attributes:
        method: registry name; None if `run` or a file names the method.
        dataset: name of the data set; None for the one that a file names, else `tiny`.
        variant: name of the method's variant; None for the one that a file names, else the data set's default.
        trainer: name of the trainer preset; None for no preset: one device of any kind.
        recipe: name of the method's recipe; None for the method's default.
        protocol: name of the protocol that chooses the checkpoint; None for the one that the configuration names.
        seed: seed of all random numbers; None for the one of the configuration.
        files: the user's own configuration files; a later file wins over an earlier one.
        values: configuration values by dotted key (`trainer.max_epochs`); they win over everything else.
        run: a run folder whose saved configuration takes the place of the names' configuration.
        out: the run folder to write; None for the usual one.
        logger: a further logger (`wandb`), or None.
        detail: store the samples' detail, too, when the run is scored on test.
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
    detail: bool = False

    def choice_words(self) -> list[str]:
        """The command line's words for all fields but `values`."""
        words: list[str] = []
        for name in (*NAMES, "seed", "run", "out", "logger"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", str(value)]
        words += ["--detail"] * self.detail
        return words + [word for file in self.files for word in ("--config", str(file))]

    def value_words(self) -> list[str]:
        """The command line's words for `values`."""
        return [f"--{key}={as_word(value)}" for key, value in self.values.items()]

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON values, for another process."""
        return json.loads(json.dumps({entry.name: getattr(self, entry.name) for entry in fields(self)}, default=str))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The request whose `to_json` gave these values."""
        paths = {name: Path(plain[name]) for name in ("run", "out") if plain[name] is not None}
        return cls(**{**plain, **paths, "files": tuple(map(Path, plain["files"]))})


def as_word(value: Any) -> str:
    """A value as text of the command line, which reads it as YAML."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
