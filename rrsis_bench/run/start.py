"""How `fit` starts: which process owns the run folder, and which checkpoint the training continues from."""

from __future__ import annotations

import os
from pathlib import Path

from rrsis_bench.errors import UsageError
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.run.resolve import ResolvedRun


def is_first_process() -> bool:
    """Whether this process reads and writes the run folder: the one of rank 0, or the only one."""
    if "RANK" in os.environ:  # torchrun
        return int(os.environ["RANK"]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def checkpoint_to_continue(folder: RunFolder, resume: Path | str | None, overwrite: bool) -> Path | None:
    """The checkpoint that `fit` continues from, or None to start anew.

    Args:
        folder: the run folder.
        resume: `auto` for the folder's last checkpoint, or the checkpoint to continue from.
        overwrite: start anew though the folder holds a run.

    Raises:
        UsageError: the folder is not ours; or it holds a run, and neither `resume` nor `overwrite` is given.
    """
    if not is_first_process():
        if resume == "auto":
            return folder.last if folder.last.is_file() else None
        return None if resume is None else Path(resume)
    folder.check_usable()
    if resume not in {None, "auto"}:
        path = Path(str(resume))
        if not path.is_file():
            raise UsageError(f"--resume: there is no checkpoint {path}.")
        return path
    if resume == "auto":
        if folder.last.is_file():
            return folder.last
        if folder.best.is_file() and not folder.is_finished:
            raise UsageError(
                f"{folder} holds {folder.best.name} but no {folder.last.name} to continue from; start anew with "
                "--overwrite, which moves the old run aside, or choose another --out."
            )
        return None
    if not overwrite:
        folder.check_empty()
    return None


def check_trainable(run: ResolvedRun) -> None:
    """Check that `fit` can train a run.

    Raises:
        UsageError: it is one of a zero-shot variant; the message names the command that scores it.
    """
    if run.zero_shot:
        method, variant = run.config["model"]["method"], run.config["model"]["variant"]
        raise UsageError(
            f"{method} ({variant}) takes published weights as they are, and nothing is trained; score it: "
            f"rrsis-bench test --method {method} --variant {variant} --dataset {run.config['data']['dataset']}."
        )
