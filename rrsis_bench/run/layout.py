"""Where the files of a run lie: their names stand here, and nowhere else. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULT, SAMPLES, DETAIL, CONFIG = "result.json", "samples.csv.gz", "detail.csv.gz", "config.yaml"
METRICS, GALLERY, EXAMPLES, MARK = "metrics.csv", "gallery.json", "examples.json", ".rrsis_run.json"
PERTURBED, ELSEWHERE = "perturb", "on"
CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
STATE, LOG, JOB = "cell.json", "cell.log", "cell.job"


@dataclass(frozen=True)
class Layout:
    """The paths of a run's files.

    Attributes:
        path: the run folder; it need not exist yet.
    """

    path: Path

    def __str__(self) -> str:
        """The path, as messages show it."""
        return str(self.path)

    @property
    def result_path(self) -> Path:
        """`result.json`."""
        return self.path / RESULT

    @property
    def samples_path(self) -> Path:
        """`samples.csv.gz`."""
        return self.path / SAMPLES

    @property
    def detail_path(self) -> Path:
        """`detail.csv.gz`, which only `test --detail` writes."""
        return self.path / DETAIL

    @property
    def config_path(self) -> Path:
        """`config.yaml`."""
        return self.path / CONFIG

    @property
    def gallery_path(self) -> Path:
        """`gallery.json`."""
        return self.path / GALLERY

    @property
    def metrics_path(self) -> Path:
        """`metrics.csv`, the logged losses and scores."""
        return self.path / METRICS

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.checkpoints / BEST

    @property
    def last(self) -> Path:
        """The checkpoint that training continues from."""
        return self.checkpoints / LAST

    @property
    def log_path(self) -> Path:
        """The output of a sweep's cell."""
        return self.path / LOG

    @property
    def job_path(self) -> Path:
        """The file that names the scheduler's job of a queued cell."""
        return self.path / JOB
