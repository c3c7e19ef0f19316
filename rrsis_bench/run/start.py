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
        UsageError: the folder is not ours; or it holds another run than the one to continue, and `overwrite` is not
            given; or `overwrite` contradicts `resume`.
    """
    if not is_first_process():
        if resume == "auto":
            return folder.last if folder.last.is_file() else None
        return None if resume is None else Path(resume)
    folder.check_usable()
    path = None if resume in {None, "auto"} else Path(str(resume))
    if path is not None and not path.is_file():
        raise UsageError(f"--resume: there is no checkpoint {path}.")
    if resume == "auto" or (path is not None and folder.owns(path)):
        if overwrite:
            raise UsageError(
                f"--resume continues the run in {folder}, and --overwrite starts anew; leave one of them out."
            )
        return path or _last(folder)
    if not overwrite:
        folder.check_empty()
    return path


def _last(folder: RunFolder) -> Path | None:
    """The folder's `last.ckpt`, or None.

    Raises:
        UsageError: an unfinished run has `best.ckpt` alone.
    """
    if folder.last.is_file():
        return folder.last
    if folder.best.is_file() and not folder.is_finished:
        raise UsageError(
            f"{folder} holds {folder.best.name} but no {folder.last.name} to continue from; start anew with "
            "--overwrite instead of --resume, which moves the old run aside, or choose another --out."
        )
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
