"""`detail.csv.gz`: the further integers of every sample, which `test --detail` stores beside `samples.csv.gz`.

Scores of val stand in the same file: the best threshold is chosen there.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.wording import WORDINGS
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.files import gzipped
from rrsis_bench.metrics.detail import BINS, COLUMNS, OTHERS
from rrsis_bench.metrics.protocols import NATIVE
from rrsis_bench.results.samples import SampleTable, quoting
from rrsis_bench.run.folder import RunFolder

_WORDS = tuple(f"names_{name}" for name in WORDINGS)
_HEADER = ("split", "sample_id", *_WORDS, *COLUMNS)
_SPLITS = ("test", "val")


@dataclass(frozen=True)
class SplitDetail:
    """The detail of one split. `N` samples.

    Attributes:
        sample_id: N ids, ascending.
        wording: (N, len(WORDINGS)) bool, what the expressions name.
        values: (N, len(COLUMNS)) int64.
    """

    sample_id: tuple[str, ...]
    wording: NDArray[np.bool_]
    values: NDArray[np.int64]

    @classmethod
    def build(cls, sample_id: Sequence[str], text: Sequence[str], values: NDArray[Any]) -> SplitDetail:
        """Sort the samples by id, and look for what their expressions name."""
        order = sorted(range(len(sample_id)), key=sample_id.__getitem__)
        named = [[names(text[k]) for names in WORDINGS.values()] for k in order]
        wording = np.array(named, np.bool_).reshape(len(order), len(WORDINGS))
        return cls(tuple(sample_id[k] for k in order), wording, np.asarray(values, np.int64)[order])

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.sample_id)

    def column(self, *names: str) -> NDArray[np.int64]:
        """Columns by name: (N,) for one, (N, len(names)) for several."""
        places = [COLUMNS.index(name) for name in names]
        found: NDArray[np.int64] = self.values[:, places]
        return found[:, 0] if len(names) == 1 else found

    def rows(self, index: Sequence[int]) -> SplitDetail:
        """Some samples, by ascending positions."""
        places = np.array(index, np.int64)
        return SplitDetail(tuple(self.sample_id[k] for k in places), self.wording[places], self.values[places])

    def targeted(self) -> SplitDetail:
        """The samples that have a target: whose histogram holds pixels inside the truth."""
        return self.rows(np.flatnonzero(self.hist[:, BINS:].any(axis=1)).tolist())

    @property
    def hist(self) -> NDArray[np.int64]:
        """(N, 2 * BINS) pixels outside and inside the truth, by bin of probability."""
        return self.values[:, -2 * BINS :]


@dataclass(frozen=True)
class Detail:
    """The detail of a run.

    Attributes:
        test: of the scored split.
        val: of the validation split; None where the data set has none.
    """

    test: SplitDetail
    val: SplitDetail | None = None

    @property
    def has_others(self) -> bool:
        """Whether any image of the test split is known to hold several instances."""
        return bool(self.test.column("n_other").any())

    def targeted(self) -> Detail:
        """The samples that have a target; no val where none of its samples has one."""
        val = None if self.val is None else self.val.targeted()
        return Detail(self.test.targeted(), val if val is not None and len(val) else None)

    def block(self) -> dict[str, Any]:
        """The block `detail` of a result: sha256 of the uncompressed table, and the numbers of samples."""
        counted = {split: len(part) for split, part in self.parts()}
        return {"sha256": hashlib.sha256(text(self).encode("utf-8")).hexdigest(), "n": counted}

    def parts(self) -> list[tuple[str, SplitDetail]]:
        """The splits by name, test first."""
        return [(name, part) for name, part in zip(_SPLITS, (self.test, self.val), strict=True) if part is not None]


def text(detail: Detail) -> str:
    """The table as CSV. Columns of other instances are empty where no image of a split is known to hold several."""
    stream = io.StringIO(newline="")
    ids = [sample_id for _, part in detail.parts() for sample_id in part.sample_id]
    writer = csv.writer(stream, lineterminator="\n", quoting=quoting(ids))
    writer.writerow(_HEADER)
    others = [COLUMNS.index(name) for name in OTHERS]
    for split, part in detail.parts():
        known = bool(part.column("n_other").any())
        for sample_id, wording, values in zip(part.sample_id, part.wording, part.values.tolist(), strict=True):
            cells: list[Any] = values
            if not known:
                cells[others[0] : others[-1] + 1] = [""] * len(others)
            writer.writerow([split, sample_id, *map(int, wording), *cells])
    return stream.getvalue()


def encode(detail: Detail) -> bytes:
    """The bytes of `detail.csv.gz`, which depend on the table alone."""
    return gzipped(text(detail))


def read_detail(folder: RunFolder, result: dict[str, Any], table: SampleTable) -> Detail:
    """A run's detail, after its checksum and its sums are compared with the result and the samples.

    Args:
        folder: the run folder.
        result: its result.
        table: its samples.

    Raises:
        UsageError: the run was scored without detail.
        UserError: the file is missing or damaged, or its histograms are not of the run's samples.
    """
    if "detail" not in result:
        raise UsageError(
            f"{folder} was scored without detail; score it again: {folder.command('test')} --detail --overwrite"
        )
    detail = parse(folder.detail(result["detail"]["sha256"]), folder.detail_path)
    if (problem := contradiction(detail, table)) is not None:
        raise UserError(f"{folder.detail_path}: {problem}. Test the run again.")
    return detail


def contradiction(detail: Detail, table: SampleTable) -> str | None:
    """Say where the detail of the test split is not that of the samples; None if it is.

    The bins of each sample must add up to its image, its truth, its prediction and their intersection.
    """
    part = detail.test
    if part.sample_id != table.sample_id:
        return "it is not of the samples in the run's table"
    outside, inside = part.hist[:, :BINS], part.hist[:, BINS:]
    half = BINS // 2
    inter = inside[:, half:].sum(axis=1)
    sums = np.stack([inside.sum(axis=1), outside[:, half:].sum(axis=1) + inter, inter], axis=1)
    wrong = np.flatnonzero((sums != table.view(NATIVE.name)).any(axis=1))
    if wrong.size:
        return f"the histogram of sample '{part.sample_id[wrong[0]]}' does not add up to its areas"
    return None


def parse(content: str, path: Path) -> Detail:
    """The detail in the text of a file.

    Args:
        content: CSV text.
        path: file that the text came from, for messages.

    Raises:
        UserError: a row is one that no run writes.
    """
    rows = csv.reader(io.StringIO(content, newline=""))
    if tuple(next(rows, [])) != _HEADER:
        raise UserError(f"{path} has unexpected columns. Test the run again.")
    ids: dict[str, list[str]] = {split: [] for split in _SPLITS}
    numbers: dict[str, list[list[int]]] = {split: [] for split in _SPLITS}
    for row in rows:
        try:
            ids[row[0]].append(row[1])
            numbers[row[0]].append([int(cell or 0) for cell in row[2:]])
            whole = len(row) == len(_HEADER)
        except (ValueError, KeyError, IndexError):
            whole = False
        if not whole:
            raise UserError(f"{path} line {rows.line_num} is not a row of {len(_HEADER)} valid values.")
    parts = []
    for split in _SPLITS:
        values = np.array(numbers[split], np.int64).reshape(len(ids[split]), len(_HEADER) - 2)
        wording = values[:, : len(_WORDS)].astype(np.bool_)
        parts.append(SplitDetail(tuple(ids[split]), wording, values[:, len(_WORDS) :]))
    return Detail(parts[0], parts[1] if len(parts[1]) else None)
