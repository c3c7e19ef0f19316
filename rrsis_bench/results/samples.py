"""`samples.csv.gz`: the integers of every sample, from which every metric can be computed again without a GPU."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.wording import count_words, names_position, names_relation
from rrsis_bench.errors import UserError, did_you_mean
from rrsis_bench.files import gzipped
from rrsis_bench.metrics.areas import Counts
from rrsis_bench.metrics.protocols import NATIVE, PROTOCOLS, views
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.stats.paired import RunCounts

Unit = Literal["words", "tokens"]
_IDENTITY = ("sample_id", "image_id", "category")
_LENGTHS: dict[str, Unit] = {"n_words": "words", "n_tokens": "tokens"}
"""Column of the expressions' lengths -> unit. Files of version 1 count tokens of a method's own tokenizer."""
_SIZES = ("height", "width")
_AREAS = ("truth", "pred", "inter")
_WORDING = ("position", "relation")


@dataclass(frozen=True)
class SampleTable:
    """One row per sample. `N` samples, `V` views.

    Attributes:
        sample_id: N unique ids.
        image_id: N ids of the photographs; intervals resample photographs.
        category: N class names of the referents, "" if unknown.
        lengths: (N,) int64 length of each expression, in `unit`.
        height: (N,) int64 native height in pixels.
        width: (N,) int64 native width in pixels.
        position: (N,) bool, True if the expression names a position in the image.
        relation: (N,) bool, True if the expression names a relation to another object.
        views: names of the V views.
        counts: (N, V, 3) int64 areas of truth, prediction and intersection in pixels.
        unit: unit of `lengths`: words, or tokens in a table of version 1.
    """

    sample_id: tuple[str, ...]
    image_id: tuple[str, ...]
    category: tuple[str, ...]
    lengths: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    position: NDArray[np.bool_]
    relation: NDArray[np.bool_]
    views: tuple[str, ...]
    counts: Counts
    unit: Unit = "words"

    @classmethod
    def build(
        cls,
        *,
        sample_id: Sequence[str],
        image_id: Sequence[str],
        category: Sequence[str],
        text: Sequence[str],
        height: Sequence[int] | NDArray[Any],
        width: Sequence[int] | NDArray[Any],
        views: Sequence[str],
        counts: NDArray[Any],
    ) -> SampleTable:
        """Make a table, sorted by sample id. `lengths`, `position` and `relation` are computed from the expressions.

        Args:
            sample_id: N ids.
            image_id: N ids of the photographs.
            category: N class names.
            text: N expressions; the table does not keep them.
            height: N native heights in pixels.
            width: N native widths in pixels.
            views: names of the V views.
            counts: (N, V, 3) areas of truth, prediction and intersection in pixels.

        Raises:
            UserError: the columns have different lengths, or a sample id occurs twice.
        """
        lengths = {len(column) for column in (sample_id, image_id, category, text, height, width, counts)}
        if len(lengths) != 1 or counts.shape[1:] != (len(views), 3):
            raise UserError(f"columns of the samples disagree: lengths {sorted(lengths)}, counts {counts.shape}.")
        order = sorted(range(len(sample_id)), key=sample_id.__getitem__)
        ids = tuple(sample_id[i] for i in order)
        for here, following in pairwise(ids):
            if here == following:
                raise UserError(f"sample id '{here}' occurs twice; ids must be unique within a split.")
        return cls(
            sample_id=ids,
            image_id=tuple(image_id[i] for i in order),
            category=tuple(category[i] for i in order),
            lengths=np.array([count_words(text[i]) for i in order], np.int64),
            height=np.array([int(height[i]) for i in order], np.int64),
            width=np.array([int(width[i]) for i in order], np.int64),
            position=np.array([names_position(text[i]) for i in order], np.bool_),
            relation=np.array([names_relation(text[i]) for i in order], np.bool_),
            views=tuple(views),
            counts=np.asarray(counts, np.int64)[order],
        )

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self.sample_id)

    def view(self, name: str) -> Counts:
        """Counts (N, 3) of one view.

        Raises:
            UserError: the table does not hold the view.
        """
        if name not in self.views:
            raise UserError(f"the samples hold no view '{name}'.{did_you_mean(name, list(self.views))}")
        counts: Counts = self.counts[:, self.views.index(name)]
        return counts

    def rows(self, index: NDArray[np.int64]) -> SampleTable:
        """The table of some rows (M,), in ascending order."""
        names: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in index) for name in _IDENTITY}
        arrays = ("lengths", "height", "width", "position", "relation", "counts")
        return replace(self, **names, **{name: getattr(self, name)[index] for name in arrays})


def _area_columns(view: str) -> list[str]:
    return [name if view == NATIVE.name else f"{name}@{view}" for name in _AREAS]


def text(table: SampleTable) -> str:
    """The table as CSV."""
    stream = io.StringIO(newline="")
    names = (*table.sample_id, *table.image_id, *table.category)
    writer = csv.writer(stream, lineterminator="\n", quoting=quoting(names))
    areas = [column for view in table.views for column in _area_columns(view)]
    writer.writerow([*_IDENTITY, f"n_{table.unit}", *_SIZES, *areas, *_WORDING])
    writer.writerows(_rows(table))
    return stream.getvalue()


def quoting(names: Iterable[str]) -> Literal[0, 2]:
    """How the writer of CSV quotes these names, so that its reader finds them again."""
    # Python 3.11's writer leaves a carriage return bare, and its reader then takes it for the end of the row.
    bare = any("\r" in name for name in names)
    return csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL


def encode(table: SampleTable) -> bytes:
    """The bytes of `samples.csv.gz`, which depend on the table alone: the file holds no time and no name."""
    return gzipped(text(table))


def _rows(table: SampleTable) -> Iterator[list[str | int]]:
    counts = table.counts.reshape(len(table), -1)
    for i, sample_id in enumerate(table.sample_id):
        identity = [sample_id, table.image_id[i], table.category[i]]
        sizes = [int(table.lengths[i]), int(table.height[i]), int(table.width[i])]
        yield [*identity, *sizes, *counts[i].tolist(), int(table.position[i]), int(table.relation[i])]


def read_native(folder: RunFolder, sha256: str, where: str) -> RunCounts:
    """The native integers of a run's samples, read seven times as fast as by `read_samples`.

    This suite wrote a table that has the checksum of its result, so that this function does not check its values.

    Args:
        folder: the run folder.
        sha256: checksum of the table, as the result states it.
        where: what to call the run in an error.

    Raises:
        UserError: see `RunFolder.samples`.
    """
    content = folder.samples(sha256)
    header, _, body = content.partition("\n")
    columns = header.split(",")
    wanted = _area_columns(NATIVE.name)
    if wanted[0] not in columns or '"' in body or "\r" in body:
        table = parse(content, folder.samples_path)
        return RunCounts(table.sample_id, table.image_id, table.view(NATIVE.name), where=where)
    lines = body.rstrip("\n").split("\n")
    places = [columns.index(name) for name in wanted]
    counts = np.loadtxt(lines, np.int64, comments=None, delimiter=",", usecols=places, ndmin=2)
    sample_ids, image_ids, _ = zip(*map(str.split, lines, repeat(","), repeat(2)), strict=True)
    return RunCounts(sample_ids, image_ids, counts, where=where)


def _views(header: Sequence[str]) -> tuple[str, ...]:
    """Names of the views whose columns a header holds, in the order of the columns."""
    found = [view.name for view in views(PROTOCOLS) if _area_columns(view.name)[0] in header]
    return tuple(sorted(found, key=lambda view: header.index(_area_columns(view)[0])))


def read_samples(folder: RunFolder, sha256: str | None = None) -> SampleTable:
    """A run's samples, after their checksum is compared with the one in the result.

    Args:
        folder: the run folder.
        sha256: checksum of the table, as the result states it; None to read it from the result.

    Raises:
        UserError: see `RunFolder.samples` and `parse`.
    """
    return parse(folder.samples(sha256), folder.samples_path)


def parse(content: str, path: Path) -> SampleTable:
    """The table in the text of a samples file.

    Args:
        content: CSV text.
        path: file that the text came from, for messages.

    Raises:
        UserError: the rows are not sorted, or a value is one that no run writes; the message names file and line.
    """
    rows = csv.reader(io.StringIO(content, newline=""))
    header = next(rows, [])
    views = _views(header)
    areas = [column for view in views for column in _area_columns(view)]
    length = next((column for column in _LENGTHS if column in header), "n_words")
    if header != [*_IDENTITY, length, *_SIZES, *areas, *_WORDING] or not views:
        raise UserError(f"{path} has unexpected columns: {', '.join(header)[:200]}.")
    table: list[list[str]] = []
    numbers: list[list[int]] = []
    try:
        for row in rows:
            try:
                numbers.append([int(value) for value in row[3:]])
            except ValueError:
                numbers.append([])
            if len(row) != len(header) or not numbers[-1] or min(numbers[-1]) < 0 or max(numbers[-1][-2:]) > 1:
                raise UserError(f"{path} line {rows.line_num} is not a row of {len(header)} valid values.")
            if table and row[0] <= table[-1][0]:
                raise UserError(f"{path} line {rows.line_num}: sample '{row[0]}' is out of order or occurs twice.")
            table.append(row)
    except csv.Error as error:
        raise UserError(f"{path} line {rows.line_num}: {error}.") from error
    values = np.array(numbers, np.int64).reshape(len(table), -1)
    if not len(table):
        raise UserError(f"{path} holds no samples.")
    return SampleTable(
        sample_id=tuple(row[0] for row in table),
        image_id=tuple(row[1] for row in table),
        category=tuple(row[2] for row in table),
        lengths=values[:, 0],
        height=values[:, 1],
        width=values[:, 2],
        position=values[:, -2].astype(np.bool_),
        relation=values[:, -1].astype(np.bool_),
        views=views,
        counts=values[:, 3:-2].reshape(len(table), len(views), 3),
        unit=_LENGTHS[length],
    )
