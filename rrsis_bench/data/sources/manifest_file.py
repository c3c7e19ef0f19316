"""A user's own data set: a JSONL or CSV file that lists image, mask (file or RLE) and expression."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.masks import MaskError, canonical, encode
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, read_mask_file, require
from rrsis_bench.data.sources.ids import Claims, read_id
from rrsis_bench.data.verify import ScannedSource
from rrsis_bench.errors import MissingResourceError

DEFAULT_NAMES = ("manifest.jsonl", "manifest.csv")


class ManifestFile(ScannedSource):
    """A listing with the columns `image`, `mask` or `rle`, and `expression` (or `text`).

    `image` and `mask` are paths relative to the data root; a mask file's pixels above 0 are foreground; `rle` is a
    COCO RLE, compressed or not (in CSV as JSON text). `split`, `category` and `sample_id` may be given. If no line
    states a split, images are dealt to train, val and test (8 : 1 : 1) by a hash of their path. A line without a
    `sample_id` is known by its number.
    """

    name = "manifest"
    info = SourceInfo(
        title="own manifest",
        where="your own files",
        licence="that of your images",
        layout="manifest.jsonl or manifest.csv (or the file data.manifest names) and the images it lists",
    )

    def __init__(self, manifest: str | None = None) -> None:
        """Choose the listing.

        Args:
            manifest: its path, as it stands or below the root; None for `manifest.jsonl` or `manifest.csv` there.
        """
        self.manifest = manifest

    def key_files(self, root: Path) -> list[Path]:
        """The listing and the files that it lists."""
        (listing,) = require([self._listing(root)], root, self.dataset or self.name, self.info)
        rows = [row for _, row in _rows(listing, lambda finding: None)]
        named = dict.fromkeys(row.get(key) for key in ("image", "mask") for row in rows)
        return [listing, *(root / name for name in named if isinstance(name, str) and name and _inside(name))]

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up listing, JSONL with masks in turn as files and as RLE; `size` is the image side (512)."""
        fake.start_afresh(root)
        lines = []
        for number, item in enumerate(fake.items(n_per_split, size or 512, seed, ("ship", "airplane"), faults)):
            line: dict[str, Any] = {"image": f"images/{number}.png", "expression": item.text}
            write_image(root / line["image"], item.image)
            if number % 2:
                line["mask"] = f"masks/{number}.png"
                write_image(root / line["mask"], item.mask * np.uint8(255))
            else:
                line["rle"] = encode(item.mask)
            lines.append({**line, "split": item.split, "category": item.category})
        _plant(root, lines, faults)

    def _listing(self, root: Path) -> Path:
        if self.manifest is not None:
            given = Path(self.manifest).expanduser()
            return given if given.is_absolute() or given.is_file() else root / given
        return next((root / name for name in DEFAULT_NAMES if (root / name).is_file()), root / DEFAULT_NAMES[0])

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        listing = self._listing(root)
        rows = list(_rows(listing, report))
        dealt = not any(row.get("split") for _, row in rows)
        ids = Claims("sample_id", report)
        for where, row in rows:
            sample_id = _sample_id(where, row)
            image, text = row.get("image"), row.get("expression", row.get("text"))
            split = _dealt(str(image)) if dealt else row.get("split")
            mask, rle = row.get("mask") or None, row.get("rle") or None
            problem = ""
            if not isinstance(image, str) or not image:
                problem = "line names no image"
            elif not isinstance(text, str):
                problem = "line has no expression"
            elif (mask is None) == (rle is None):
                problem = "line needs either a mask or an rle"
            elif split not in SPLITS:
                problem = f"split {split!r} is none of {', '.join(SPLITS)}"
            elif not _inside(image) or not (mask is None or (isinstance(mask, str) and _inside(mask))):
                problem = "paths must be relative to the data root and stay below it"
            elif sample_id is None:
                problem = f"sample_id {row['sample_id']!r} is neither a whole number nor a text"
            if problem or sample_id is None:
                report(Finding("error", where, problem, "format"))
                continue
            if not ids.claim(sample_id, where):
                continue
            read: Callable[[tuple[int, int]], MaskRead]
            read = partial(_rle_mask, rle) if mask is None else partial(_file_mask, root / str(mask))
            yield ListedPair(
                sample_id=sample_id,
                split=str(split),
                text=str(text).strip(),
                image=PurePosixPath(str(image)).as_posix(),
                category="" if row.get("category") is None else str(row["category"]),
                where=where,
                mask_file=where if mask is None else str(mask),
                mask=read,
            )


def _sample_id(where: str, row: Mapping[str, Any]) -> str | None:
    """The id that a line states, as text, or the line's number; None if it states something else than an id."""
    stated = row.get("sample_id")
    if stated is None or stated == "":
        return where.rpartition(":")[2]
    found = read_id(stated)
    return None if found is None else str(found).strip()


def _rows(listing: Path, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each line with its place in the file. A line that cannot be read is reported and left out."""
    try:
        data = listing.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise MissingResourceError(f"manifest {listing} cannot be read ({error.strerror}).") from error
    lines: list[str] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            report(Finding("error", f"{listing.name}:{number}", "line is not UTF-8", "non-utf8"))
            lines.append("")
    if listing.suffix.lower() == ".csv":
        csv.field_size_limit(max(csv.field_size_limit(), len(data)))  # Python's own is 128 KiB; an RLE may have more
        reader = csv.DictReader(io.StringIO("\n".join(lines)))
        columns = Claims("column", lambda finding: report(replace(finding, check="format")))
        for number, column in enumerate(reader.fieldnames or (), 1):
            columns.claim(column, f"{listing.name}:1 (column {number})")
        for row in reader:
            yield f"{listing.name}:{reader.line_num}", row
        return
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            yield f"{listing.name}:{number}", value
        else:
            report(Finding("error", f"{listing.name}:{number}", "line is no JSON object", "format"))


def _rle_mask(rle: Any, size: tuple[int, int]) -> MaskRead:
    if isinstance(rle, str):
        try:
            rle = json.loads(rle)
        except ValueError as error:
            raise MaskError("rle is no JSON") from error
    return MaskRead(canonical(rle, *size))


def _file_mask(path: Path, size: tuple[int, int]) -> MaskRead:
    return read_mask_file(path, 0)


def _inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _dealt(image: str) -> str:
    place = hashlib.sha256(image.encode("utf-8", "replace")).digest()[0] % 10
    return "train" if place < 8 else SPLITS[place - 7]


def _plant(root: Path, lines: list[dict[str, Any]], faults: Sequence[str]) -> None:
    encoded: list[bytes] = []

    def halve() -> None:
        path = root / lines[0]["image"]
        write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

    planters: dict[str, Callable[[], object]] = {
        "missing-image": lambda: (root / lines[1]["image"]).unlink(),
        "corrupt-image": lambda: fake.cut_short(root / lines[2]["image"]),
        "missing-mask": lambda: (root / lines[1]["mask"]).unlink(),
        "corrupt-mask": lambda: fake.cut_short(root / lines[3]["mask"]),
        "size-mismatch": halve,
        "bad-rle": lambda: lines[0].update(rle={"size": [64, 64], "counts": "not an RLE!"}),
        "unknown-id": lambda: lines[0].update(image="images/999999.png"),
        "non-utf8": lambda: encoded.append(b'{"image": "images/0.png", "expression": "a ship \xff\xfe"}\n'),
    }
    fake.damage(faults, planters)
    encoded += [json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n" for line in lines]
    (root / DEFAULT_NAMES[0]).write_bytes(b"".join(encoded))
