"""Parquet and arrow copies of a data set: a row is a pair, and images and masks are bytes in its cells.

    <root>/…train….parquet      or .arrow; a folder or the file's name says the split: train, val (validation) or test

Nothing is unpacked. A row is known by its file name where its image has one, else by its split and its number there:
`train-0`. The names of the columns are options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.pixels import encoded
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, read_mask_file, require
from rrsis_bench.data.sources.ids import Claims
from rrsis_bench.data.tables import reads_alone, require_pyarrow, table_files
from rrsis_bench.data.verify import ScannedSource
from rrsis_bench.errors import MissingResourceError, UsageError, did_you_mean

COLUMNS = {"image": "image", "mask": "mask", "text": "phrase", "split": "", "category": "", "name": ""}
"""What a row holds -> the name of its column, as copies of RISBench have it; "" where no column is read."""
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLITS |= {"test": "test", "testing": "test"}
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"})


class TableFiles(ScannedSource):
    """A folder of parquet or arrow files.

    Args:
        columns: names of the columns that differ from `COLUMNS`; `split`, `category` and `name` (a file name) are read
            only where they are named here.
        threshold: a mask pixel above it is foreground; 0 takes every number but 0.
    """

    name = "parquet"
    info = SourceInfo(
        title="parquet or arrow files",
        where="your own files",
        licence="that of your images",
        layout="parquet or arrow files whose path names a split (train, val or validation, test)",
    )

    def __init__(self, columns: Mapping[str, str] | None = None, threshold: int = 0) -> None:
        self.columns, self.threshold = known_columns(columns), threshold

    def key_files(self, root: Path) -> list[Path]:
        """The parquet and arrow files."""
        require([root], root, self.dataset or self.name, self.info)
        files = table_files(root)
        if not files:
            raise MissingResourceError(
                f"{root} holds no parquet or arrow file; pass the folder of the data set (--root)."
            )
        return checked(files, self.columns)

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """Made-up parquet files, one for each split; `size` is the image side (512)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        fake.start_afresh(root)
        rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        for item in fake.items(n_per_split, size or 512, seed, ("ship", "airplane"), faults):
            picture = {"bytes": encoded(".png", item.image), "path": None}
            mask = {"bytes": encoded(".png", item.mask * np.uint8(255)), "path": None}
            rows[item.split].append({"image": picture, "mask": mask, "phrase": item.text})
        train = rows["train"]
        planters: dict[str, Callable[[], object]] = {
            "missing-image": lambda: train[1]["image"].update(bytes=None),
            "corrupt-image": lambda: train[2]["image"].update(bytes=train[2]["image"]["bytes"][:200]),
            "missing-mask": lambda: train[1]["mask"].update(bytes=None),
            "corrupt-mask": lambda: train[3]["mask"].update(bytes=train[3]["mask"]["bytes"][:80]),
        }
        fake.damage(faults, planters)
        for split, own in rows.items():
            pq.write_table(pa.Table.from_pylist(own), root / f"{split}-00000-of-00001.parquet")

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        return scan(root, self.columns, self.threshold, lambda text: "", report)


def known_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """All names of columns.

    Args:
        columns: those that differ from `COLUMNS`.

    Raises:
        UsageError: a key that stands for no column, or a name that is no text, or has a slash: cells have paths.
    """
    if not isinstance(columns, Mapping | None):
        raise UsageError(f"source_options.columns must name columns, such as {{image: picture}}, not {columns!r}.")
    for key, name in (columns or {}).items():
        if key not in COLUMNS:
            raise UsageError(f"source_options.columns: there is no '{key}'.{did_you_mean(str(key), list(COLUMNS))}")
        if not isinstance(name, str) or not name or "/" in name or "\\" in name:
            raise UsageError(
                f"source_options.columns.{key} must be the name of a column, without a slash, not {name!r}."
            )
    return {**COLUMNS, **(columns or {})}


def checked(files: list[Path], columns: Mapping[str, str]) -> list[Path]:
    """The files, if each has the columns, and bytes in those of images and masks.

    Args:
        files: parquet or arrow files.
        columns: what a row holds -> the name of its column.

    Raises:
        MissingResourceError: pyarrow is missing, a file cannot be read, or lacks a column, or has none of bytes.
    """
    require_pyarrow(f"{files[0]}")
    for file in files:
        schema = _opened(file, _schema)
        held = f"it has: {', '.join(schema.names) or 'none'}. Name the column in the data set's file, or"
        for key, name in columns.items():
            remedy = f"{held} to fit and test: --data.source_options='{{columns: {{{key}: NAME}}}}'."
            if name and schema.get_field_index(name) < 0:
                raise MissingResourceError(f"{file} has no column '{name}' ({key}); {remedy}")
            if key in {"image", "mask"} and not _holds_bytes(kind := schema.field(name).type):
                raise MissingResourceError(f"{file}: column '{name}' ({key}) holds {kind}, not image files; {remedy}")
    return files


def scan(
    root: Path, columns: Mapping[str, str], threshold: int, category: Callable[[str], str], report: Report
) -> Iterator[ListedPair]:
    """The rows of all table files, split by split.

    Args:
        root: data root.
        columns: what a row holds -> the name of its column.
        threshold: see `read_mask_file`.
        category: the class that an expression names, where no column holds the class.
        report: receives what is wrong with the listing.
    """
    listed: dict[str, list[tuple[Path, int, dict[str, str | None]]]] = {split: [] for split in SPLITS}
    claims = Claims("file", report, "warning")
    for file in table_files(root):
        name = file.relative_to(root).as_posix()
        of_file = None if columns["split"] else split_of(name)
        if not columns["split"] and of_file is None:
            report(Finding("error", name, f"no part of the path names a split ({', '.join(_SPLITS)})", "format"))
            continue
        if not reads_alone(file, columns["image"]):
            slow = "each image takes the time of its row group; write the file without compression, or as arrow"
            report(Finding("info", name, slow, "slow-pages"))
        for number, row in enumerate(_rows(file, name, columns, report)):
            said = row["split"]
            split = of_file or _SPLITS.get((said or "").lower())
            if split is None:
                report(
                    Finding("error", f"{name}#{number}", f"split {said!r} is none of {', '.join(_SPLITS)}", "format")
                )
                continue
            listed[split].append((file, number, row))
    for split, rows in listed.items():
        for at, (file, number, row) in zip(count(), rows, strict=False):
            name = file.relative_to(root).as_posix()
            text = row["text"]
            if text is None:
                continue
            named = PurePosixPath((row["name"] or "").replace("\\", "/")).name
            if named:
                claims.claim(named, f"{name}#{number}")
                named = named if PurePosixPath(named).suffix.lower() in _SUFFIXES else f"{named}.png"
            cell = f"{name}/{columns['mask']}/{number}"
            yield ListedPair(
                sample_id=PurePosixPath(named).stem if named else f"{split}-{at}",
                split=split,
                text=text.strip(),
                image=f"{name}/{columns['image']}/{number}",
                category=category(text) if row["category"] is None else row["category"],
                where=f"{name}#{number}",
                mask_file=cell,
                mask=partial(_mask, root / cell, threshold),
                image_name=named or f"{split}-{at}",
            )


def split_of(name: str) -> str | None:
    """The split that a path names: the last of its words that is the name of a split, or None."""
    words = [_SPLITS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _SPLITS]
    return words[-1] if words else None


def _mask(path: Path, threshold: int, size: tuple[int, int]) -> MaskRead:
    return read_mask_file(path, threshold)


def _rows(file: Path, name: str, columns: Mapping[str, str], report: Report) -> Iterator[dict[str, str | None]]:
    """What each row says in words. A text that is not UTF-8 is reported, and is None."""
    table = _opened(file, partial(_words, columns=columns))
    held = {key: table[key] for key in COLUMNS if key in table}
    for number in range(len(table["text"])):
        row: dict[str, str | None] = dict.fromkeys(COLUMNS)
        for key, values in held.items():
            value = values[number]
            try:
                row[key] = None if value is None else value.decode("utf-8")
            except UnicodeDecodeError:
                report(Finding("error", f"{name}#{number}", f"{key} is not UTF-8", "non-utf8"))
        if table["text"][number] is None:
            row["text"] = ""
        yield row


def _opened(file: Path, read: Callable[[Path], Any]) -> Any:
    import pyarrow as pa

    try:
        return read(file)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or "file is damaged, truncated or of another format"
        raise MissingResourceError(f"{file} cannot be read ({reason}); fetch it again.") from error


def _schema(file: Path) -> Any:
    if file.suffix == ".arrow":
        from rrsis_bench.data.tables.arrow import read_table

        return read_table(file).schema
    import pyarrow.parquet as pq

    return pq.read_schema(file)


def _holds_bytes(kind: Any) -> bool:
    """Whether a type is that of bytes, or a struct with a field `bytes` of them."""
    from pyarrow import types

    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _words(file: Path, columns: Mapping[str, str]) -> dict[str, list[bytes | None]]:
    """The columns of words, without those of pixels."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from rrsis_bench.data.tables.arrow import proven, read_table

    names = {key: columns[key] for key in ("text", "split", "category", "name") if columns[key]}
    image = columns["image"]
    if file.suffix == ".arrow":
        table: Any = read_table(file)
    else:
        path = f"{image}.path" if pa.types.is_struct(pq.read_schema(file).field(image).type) else None
        with pq.ParquetFile(file) as opened:
            table = opened.read([*names.values(), *([path] if path else [])], use_threads=False)
    words: dict[str, Any] = {key: table.column(name) for key, name in names.items()}
    if "name" not in words and image in table.column_names and pa.types.is_struct(table.column(image).type):
        kind = table.column(image).type
        if kind.get_field_index("path") >= 0:
            words["name"] = pc.struct_field(table.column(image), "path")
    held: dict[str, list[bytes | None]] = {}
    for key, column in words.items():
        try:
            held[key] = proven(column.cast(pa.binary())).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise MissingResourceError(
                f"{file}: column '{columns[key] or image}' ({key}) holds {column.type}, not text; it has: "
                f"{', '.join(_schema(file).names)}. Name another column in source_options.columns."
            ) from error
    return held
