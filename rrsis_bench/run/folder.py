"""The run folder: what a run's files hold, and whether they belong together. Their names stand in `layout`. No torch.

A folder is ours if it holds the mark that `RunFolder.claim` writes. Older versions wrote no mark: a folder without one
is ours if it holds a result, or a configuration and a checkpoint. Every other folder that holds files is the user's,
and nothing writes to it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rrsis_bench.config import Config, load_yaml
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import json_text, prove_writable, unpacked, write_text, write_together
from rrsis_bench.paths import runs_root
from rrsis_bench.run import lock as locks
from rrsis_bench.run import seal
from rrsis_bench.run.layout import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    DETAIL,
    ELSEWHERE,
    EXAMPLES,
    JOB,
    LAST,
    LOG,
    MARK,
    METRICS,
    PERTURBED,
    RESULT,
    SAMPLES,
    STATE,
    Layout,
)
from rrsis_bench.run.state import State

_BOOKKEEPING = (STATE, LOG, JOB, locks.FILE, locks.GUARD, locks.SEEN)
"""Files of the process that starts a run, not of the run: a folder that holds only these counts as empty."""
LARGEST_SAMPLES = 256 * 2**20
"""Bytes of an unpacked table (three million samples) above which it is refused, before it fills the memory."""


@dataclass(frozen=True)
class RunFolder(Layout):
    """The folder of one run: its paths, and what is in it."""

    @classmethod
    def of(cls, dataset: str, method: str, variant: str, seed: int, runs: Path | None = None) -> RunFolder:
        """`<runs>/<dataset>/<method>@<variant>/seed<k>`; `runs` is None for the usual folder of runs."""
        return cls((runs or runs_root()) / dataset / f"{method}@{variant}" / f"seed{seed}")

    def perturbed(self, label: str) -> RunFolder:
        """The folder of the run's result under a perturbation, `perturb/<name>-<severity>`."""
        return RunFolder(self.path / PERTURBED / label)

    def elsewhere(self, label: str) -> RunFolder:
        """The folder of the run's result on another data set, `on/<dataset>`."""
        return RunFolder(self.path / ELSEWHERE / label)

    # --- what is in it ------------------------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """Whether the folder holds a result."""
        return self.result_path.is_file()

    def is_ours(self) -> bool:
        """Whether `fit`, `test` or `results score` wrote the folder."""
        if (self.path / MARK).is_file():
            return True
        if self.is_finished:
            return seal.looks_like_a_result(self.result_path)
        return self.config_path.is_file() and (self.best.is_file() or self.last.is_file()) and self._names_a_method()

    def _names_a_method(self) -> bool:
        try:
            return "method" in (load_yaml(self.config_path).get("model") or {})
        except (UserError, AttributeError):
            return False

    def content(self) -> list[Path]:
        """The folder's files and folders besides those of locks and sweeps, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if path.name not in _BOOKKEEPING)

    def config(self) -> Config:
        """The configuration the run was made with.

        Raises:
            UsageError: the folder is no run folder, or its configuration is unreadable, or names no method or data set.
        """
        if not self.config_path.is_file():
            raise UsageError(f"{self} is no run folder: it has no {CONFIG}.")
        loaded = load_yaml(self.config_path)
        for block, key, what in (("model", "method", "method"), ("data", "dataset", "data set")):
            if not isinstance(loaded.get(block), dict) or not isinstance(loaded[block].get(key), str):
                raise UsageError(f"{self.config_path} is not the configuration of a run: it names no {what}.")
        return loaded

    def result(self, brief: bool = False) -> seal.Result:
        """The run's result, checked as `seal.read` checks it: without the table of samples."""
        return seal.read(self.result_path, brief)

    def samples(self, sha256: str | None = None) -> str:
        """The table of samples as CSV, after its hash is checked against the one in the result.

        Args:
            sha256: the table's hash as the result states it; None to read it from the result.

        Raises:
            UserError: the table is missing, truncated, or not the one that the result was made from.
        """
        stated = self.result()["samples_sha256"] if sha256 is None else sha256
        return self._table(self.samples_path, stated)

    def detail(self, sha256: str) -> str:
        """The table of the samples' detail as CSV, checked as `samples` checks its table."""
        return self._table(self.detail_path, sha256)

    def _table(self, path: Path, sha256: str) -> str:
        try:
            content = unpacked(path, LARGEST_SAMPLES)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error}. Test the run again, or restore the file.") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path} is not the file that {self.result_path} was made from. Test the run again.")
        return content.decode("utf-8")

    def checkpoint(self) -> Path:
        """The checkpoint to score and predict with: `best.ckpt`, or `last.ckpt` if the run has no best one.

        Raises:
            UsageError: the folder holds no checkpoint yet.
        """
        found = next((path for path in (self.best, self.last) if path.is_file()), None)
        if found is None:
            raise UsageError(f"{self} holds no checkpoint yet ({CHECKPOINTS}/{BEST} or {LAST}); finish its training.")
        return found

    def owns(self, path: Path) -> bool:
        """Whether a file lies in the folder; `checkpoints` may be a link to another disk."""
        found = path.resolve()
        return found.is_relative_to(self.path.resolve()) or found.parent == self.checkpoints.resolve()

    def state(self) -> State | None:
        """The state that the runner of a sweep's cell saved; None if there is none."""
        return State.read(self.path / STATE)

    def save_state(self, state: State) -> None:
        """Save a cell's state."""
        state.write(self.path / STATE)

    def forget_state(self) -> None:
        """Remove a cell's state."""
        (self.path / STATE).unlink(missing_ok=True)

    def job(self) -> str:
        """The scheduler's job that the cell was queued as; "" if there is none."""
        try:
            return self.job_path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def holder(self) -> locks.Holder | None:
        """The living process that works in the folder; None if there is none."""
        return locks.holder(self.path)

    def check_free(self) -> None:
        """Check that no other process works in the folder; see `lock.check_free`."""
        locks.check_free(self.path)

    def hold(self) -> AbstractContextManager[None]:
        """Keep other processes out of the folder while a block runs; see `lock.hold`."""
        return locks.hold(self.path)

    def written(self) -> list[str]:
        """Names of the run's files that exist, for messages."""
        names = (RESULT, SAMPLES, DETAIL, CONFIG, f"{CHECKPOINTS}/", METRICS)
        return [name for name in names if (self.path / name).exists()]

    # --- writing ------------------------------------------------------------------------------------------------

    def check_usable(self) -> None:
        """Refuse a folder that holds anything but a run of ours.

        Raises:
            UsageError: names the first such file, or a file in the folder's place.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self} is a file, not a folder; choose another --out.")
        found = [path for path in self.content() if path.name not in (PERTURBED, ELSEWHERE)]
        if found and not self.is_ours():
            raise UsageError(
                f"{self} holds files that rrsis-bench did not write ({found[0].name}), and a run is not mixed with "
                "them. Choose another --out."
            )

    def check_empty(self) -> None:
        """Refuse a folder that holds a run, finished or not.

        Raises:
            UsageError: says how to continue the run, or to start anew.
        """
        if self.is_finished:
            raise UsageError(
                f"{self} holds a finished run; start anew with --overwrite, or choose another --seed or --out."
            )
        if self.last.is_file() or self.best.is_file():
            raise UsageError(
                f"{self} holds an unfinished run; continue with --resume auto, or start anew with --overwrite."
            )

    def claim(self) -> None:
        """Make the folder and mark it as ours.

        Raises:
            UsageError: see `check_usable`.
            UserError: the folder cannot be written.
        """
        self.check_usable()
        write_text(self.path / MARK, _mark())

    def write_config(self, text: str) -> None:
        """Write `config.yaml`."""
        write_text(self.config_path, text)

    def prove_writable(self) -> None:
        """Check that the files of a result can be written, before the work that gives the result.

        Raises:
            UsageError: see `check_usable`.
            UserError: see `files.prove_writable`.
        """
        self.check_usable()
        prove_writable(self.samples_path, self.config_path, self.result_path)

    def write_result(
        self, result: seal.Result, samples: bytes, config: str, further: Mapping[str, bytes | str], mark: bool = True
    ) -> None:
        """Write a run's files together. The result comes last: a folder with a result holds the others.

        Further files of an earlier result, which the new one does not have, are removed.

        Args:
            result: the result; `seal` adds its checksum.
            samples: bytes of `samples.csv.gz`.
            config: text of `config.yaml`.
            further: name -> content of the files that only some runs have: `gallery.json`, and those of `--detail`.
            mark: mark the folder as ours, as `claim` does.

        Raises:
            UserError: see `write_together`.
        """
        files: dict[Path, bytes | str] = {self.path / MARK: _mark()} if mark else {}
        files |= {self.samples_path: samples, self.config_path: config}
        files |= {self.path / name: content for name, content in further.items()}
        write_together({**files, self.result_path: seal.text_of(result)})
        for name in (DETAIL, EXAMPLES):
            if name not in further:
                (self.path / name).unlink(missing_ok=True)

    def keep_metrics(self) -> None:
        """Rename `metrics.csv` before a run continues, since the logger would overwrite it."""
        if self.metrics_path.is_file():
            number = 1 + len(list(self.path.glob("metrics-before-resume-*.csv")))
            self.metrics_path.rename(self.path / f"metrics-before-resume-{number}.csv")

    def set_aside(self) -> Path | None:
        """Move everything but locks and the mark to `<folder>.replaced-<n>`, so that no work is lost.

        `result.json` becomes `result.json.replaced` there, so that no board reads it.

        Returns:
            the new folder; None if there was no run to move.
        """
        found = [path for path in self.content() if path.name != MARK]
        found += [path for path in (self.path / name for name in (STATE, LOG, JOB)) if path.exists()]
        if not any(path.name not in (LOG, JOB) for path in found):
            return None
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.replaced-{number}")).exists():
            number += 1
        target.mkdir()
        for path in found:
            path.rename(target / (f"{path.name}.replaced" if path.name == RESULT else path.name))
        for path in find([target]):  # results filed under the run
            path.rename(path.with_name(f"{RESULT}.replaced"))
        return target

    def command(self, verb: str) -> str:
        """`rrsis-bench VERB --run FOLDER`, for hints."""
        return shlex.join(["rrsis-bench", verb, "--run", str(self.path)])


def _mark() -> str:
    return json_text({"format": 1, "what": "a run of rrsis-bench"})


def find(paths: Iterable[Path]) -> list[Path]:
    """All `result.json` files, sorted.

    Args:
        paths: folders to search, and result files.
    """
    found: set[Path] = set()
    for path in paths:
        found |= set(path.rglob(RESULT)) if path.is_dir() else {path}
    return sorted(found, key=lambda path: path.as_posix())
