"""A cell of a sweep: one `rrsis-bench fit`, or one `rrsis-bench test` where nothing is trained. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rrsis_bench import config
from rrsis_bench.config import Config
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.request import RunRequest


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: a request, its configuration and its run folder.

    Attributes:
        name: `<dataset>/<method>@<variant>/seed<k>`, the path of the run folder under the folder of runs.
        request: the request that the verb gets.
        folder: the run folder.
        config: the configuration that the request resolves to.
        weights: the checkpoint of the authors that `test` scores; None for a cell that is trained or zero-shot.
        perturb: perturbations to score the run under, as `test --perturb` takes them.
    """

    name: str
    request: RunRequest
    folder: RunFolder
    config: Config
    weights: str | None = None
    perturb: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """`test` if nothing is trained, else `fit`."""
        return "test" if self.weights is not None or config.zero_shot(self.config) else "fit"

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.config["data"]["dataset"])

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.config["model"]["method"])

    @property
    def variant(self) -> str:
        """Name of the variant; `<variant>+<name>` for a named cell."""
        return str(self.config["model"]["variant"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed_everything"])

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the cell's command line after `rrsis-bench`."""
        if self.verb == "fit":
            return ("fit", *self.request.choice_words(), "--resume", "auto", *self.request.value_words())
        scored = () if self.weights is None else ("--weights", self.weights)
        return ("test", *self.request.choice_words(), *scored, "--overwrite", *self.request.value_words())

    def perturb_words(self, names: Sequence[str]) -> tuple[str, ...]:
        """The words of the command line that scores the finished run under perturbations."""
        words = ("test", "--run", str(self.folder), "--overwrite") if self.verb == "fit" else self.words
        asked = (word for name in names for word in ("--perturb", name))
        return (*(word for word in words if word != "--detail"), *asked)  # detail is of the split itself

    @property
    def config_hash(self) -> str:
        """sha256 of the configuration and of the name of the authors' checkpoint."""
        text = json.dumps(self.config, sort_keys=True, default=str) + (self.weights or "")
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def to_json(self) -> str:
        """The cell as one line of JSON, for the process that runs it."""
        plain = {
            "name": self.name,
            "request": self.request.to_json(),
            "folder": str(self.folder),
            "config": self.config,
            "weights": self.weights,
            "perturb": list(self.perturb),
        }
        return json.dumps(plain, default=str)

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """The cell whose `to_json` gave a text."""
        plain = json.loads(text)
        request, folder = RunRequest.from_json(plain["request"]), RunFolder(Path(plain["folder"]))
        return cls(plain["name"], request, folder, plain["config"], plain["weights"], tuple(plain["perturb"]))
