"""The manifest: one JSON line per image-expression pair, with the same fields for every data set.

Opening a manifest only finds where its lines begin and end. Reading a pair parses its line.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.tables import open_stored
from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.files import write_bytes


@dataclass(frozen=True, slots=True)
class Pair:
    """One image-expression pair.

    Attributes:
        sample_id: unique within the data set.
        image_id: of the photograph. Samples whose images hold the same pixels share it.
        image: path of the image relative to the data root, with forward slashes; or a cell of a parquet or arrow file
            there (see `rrsis_bench.data.tables`).
        width: image width in pixels.
        height: image height in pixels.
        rle: the mask as COCO compressed RLE, `{"size": [h, w], "counts": str}`; its size may differ from the image's.
        text: the expression.
        split: `train`, `val` or `test`.
        category: class name, or "" where the data set has none.
        pixels: how the image's numbers become 8-bit RGB (see `PixelRule.from_config`); empty for plain 8-bit images.
        view: tells apart the images of one photograph, such as its tiles; "" where a photograph is one image.
        empty: whether the mask has no pixel.
    """

    sample_id: str
    image_id: str
    image: str
    width: int
    height: int
    rle: dict[str, Any]
    text: str
    split: str
    category: str
    pixels: Mapping[str, Any] = field(default_factory=dict)
    view: str = ""
    empty: bool = False

    @property
    def shown(self) -> tuple[str, str]:
        """What the image shows: equal for two pairs of a data set exactly if their images hold the same pixels."""
        return self.image_id, self.view


_OPTIONAL = ("pixels", "view", "empty")
_FIELDS = tuple(one.name for one in fields(Pair) if one.name not in _OPTIONAL)
_EMPTY = b', "empty": true}'
"""How the line of a pair with an empty mask ends; `empty` is the last field."""
_SPLIT = re.compile(rb'"split": "((?:[^"\\]|\\.)*)"')


def dump_pair(pair: Pair) -> bytes:
    """One line of a manifest."""
    values = {name: value for name, value in asdict(pair).items() if value or name not in _OPTIONAL}
    return json.dumps(values, ensure_ascii=False).encode("utf-8") + b"\n"


def write_manifest(path: Path, pairs: Iterable[Pair]) -> int:
    """Write a manifest atomically.

    Returns:
        the number of pairs written.
    """
    lines = [dump_pair(pair) for pair in pairs]
    write_bytes(path, b"".join(lines))
    return len(lines)


class Manifest:
    """A manifest file, or one split of it, as a sequence of pairs.

    The file is mapped into memory. A worker that receives a copy maps it again.

    Attributes:
        path: the JSONL file.
        n_empty: how many pairs with an empty mask the file holds for the split.
    """

    def __init__(self, path: Path, offsets: NDArray[np.int64], n_empty: int = 0) -> None:
        """Use `Manifest.open`.

        Args:
            path: the JSONL file.
            offsets: (N, 2) start and end byte of each line.
            n_empty: how many pairs with an empty mask there are, kept or not.
        """
        self.path = path
        self.n_empty = n_empty
        self._offsets = offsets
        self._buffer = _map(path)

    @classmethod
    def open(cls, path: str | Path, split: str | None = None, empty_truth: EmptyTruth = "skip") -> Manifest:
        """Open a manifest.

        Args:
            path: the JSONL file.
            split: keep only the pairs of this split; None for all.
            empty_truth: `skip` leaves out the pairs with an empty mask.

        Raises:
            MissingResourceError: the file does not exist.
            UserError: a line holds no image-expression pair.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingResourceError(f"manifest {path} does not exist; `rrsis-bench data prepare NAME` writes it.")
        wanted = None if split is None else json.dumps(split, ensure_ascii=False).encode("utf-8")[1:-1]
        buffer = _map(path)
        kept: list[tuple[int, int]] = []
        start, number, n_empty = 0, 0, 0
        while start < len(buffer):
            end = buffer.find(b"\n", start)
            end = len(buffer) if end < 0 else end
            number += 1
            if end > start:
                # `split` is among the last keys of a line, the text before it may hold anything: take the last match.
                found = _SPLIT.findall(buffer, max(start, end - 512), end) or _SPLIT.findall(buffer, start, end)
                if not found:
                    raise UserError(
                        f"{path}:{number} is no image-expression pair; delete the file and prepare it again."
                    )
                if wanted is None or found[-1] == wanted:
                    empty = buffer[max(start, end - len(_EMPTY)) : end] == _EMPTY
                    n_empty += empty
                    if not empty or empty_truth != "skip":
                        kept.append((start, end))
            start = end + 1
        return cls(path, np.array(kept, np.int64).reshape(-1, 2), n_empty)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._offsets)

    def __getitem__(self, index: int) -> Pair:
        """The pair at a position.

        Raises:
            UserError: its line holds no image-expression pair.
        """
        start, end = self._offsets[index]
        line = bytes(self._buffer[int(start) : int(end)])
        try:
            values = json.loads(line)
            held = {name: values[name] for name in _FIELDS}
            view, empty = values.get("view") or "", bool(values.get("empty"))
            return Pair(**held, pixels=values.get("pixels") or {}, view=view, empty=empty)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path}, entry {index}, holds no pair ({error}); delete the file and prepare the data set again."
            ) from error

    def __iter__(self) -> Iterator[Pair]:
        """All pairs in order."""
        return (self[index] for index in range(len(self)))

    def head(self, count: int) -> Manifest:
        """The first `count` pairs."""
        return Manifest(self.path, self._offsets[:count], self.n_empty)

    def take(self, positions: Sequence[int]) -> Manifest:
        """The pairs at these positions, in this order."""
        return Manifest(self.path, self._offsets[np.asarray(positions, dtype=np.intp)], self.n_empty)

    def content_hash(self, root: str | Path) -> str:
        """The hash by which a result names its data: sha256 over the sorted lines of all pairs.

        A line is `sample_id, image sha256, rle sha256, text`, joined by ", " and closed by a line feed. The image's
        sha256 is that of its file; the RLE's that of its compact JSON with sorted keys. Where the image is read by a
        rule (`pixels`), its compact JSON follows.

        Args:
            root: data root the image paths are relative to.

        Raises:
            MissingResourceError: an image is missing.
        """
        images: dict[str, str] = {}
        lines: list[str] = []
        for pair in self:
            if pair.image not in images:
                images[pair.image] = _sha256_file(Path(root) / pair.image)
            rle = hashlib.sha256(_compact(pair.rle).encode("utf-8")).hexdigest()
            parts = [pair.sample_id, images[pair.image], rle, pair.text]
            parts += [_compact(pair.pixels)] if pair.pixels else []
            lines.append(", ".join(parts) + "\n")
        return hashlib.sha256("".join(sorted(lines)).encode("utf-8")).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_offsets": self._offsets, "n_empty": self.n_empty}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self._offsets, self.n_empty = state["path"], state["_offsets"], state["n_empty"]
        self._buffer = _map(self.path)


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _map(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _sha256_file(path: Path) -> str:
    try:
        with open_stored(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        reason = error.strerror or "file is missing"
        raise MissingResourceError(
            f"cannot read image {path} ({reason}); `rrsis-bench data verify NAME` lists all damaged files."
        ) from error
