"""Data sets with line files: each line, `<file><blank><expression>`, has its own image copy and its own mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.pixels import read_labels, read_rgb, write_image
from rrsis_bench.data.sources.base import (
    Finding,
    LayoutItem,
    ListedPair,
    MaskRead,
    Report,
    match_category,
    read_mask_file,
    require,
)
from rrsis_bench.data.sources.ids import Claims
from rrsis_bench.data.sources.tables import checked, known_columns, scan
from rrsis_bench.data.tables import table_files
from rrsis_bench.data.verify import ScannedSource


class LineSource(ScannedSource):
    """A folder of images, a folder of masks with the same names, and `output_phrase_<split>.txt`.

    The first word of a line names both files, with or without the suffix; the rest is the expression. Line ends of any
    system and trailing blanks are dropped.

    Attributes:
        images: folder of the images.
        masks: folder of the masks.
        suffix: of both kinds of file.
        threshold: a mask pixel above it is foreground.
        synonyms: other wordings of the classes in `info`.
        name_suffix: whether the line files as published keep the suffix.
    """

    name: ClassVar[str]
    info: ClassVar[SourceInfo]
    images: ClassVar[str]
    masks: ClassVar[str]
    suffix: ClassVar[str]
    threshold: ClassVar[int]
    synonyms: ClassVar[Mapping[str, str]] = {}
    name_suffix: ClassVar[bool]

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        """Read a folder.

        Args:
            columns: names of the columns of a parquet or arrow copy; see `rrsis_bench.data.sources.tables`.
        """
        self.columns = known_columns(columns)

    def key_files(self, root: Path) -> list[Path]:
        """The line files and both folders; or the files of a parquet or arrow copy, where there is no line file."""
        lists = [root / f"output_phrase_{split}.txt" for split in SPLITS]
        if self._is_copy(root):
            return checked(table_files(root), self.columns)
        return require([*lists, root / self.images, root / self.masks], root, self.dataset or self.name, self.info)

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up folder; `size` is the image side (512 as published)."""
        fake.start_afresh(root)
        self.write_layout(root, fake.items(n_per_split, size or 512, seed, self.info.classes, faults))
        self._plant(root, faults)

    def write_layout(self, root: Path, items: Iterable[LayoutItem]) -> None:
        """Write pairs in this layout: an image copy for every line.

        Args:
            root: folder to write into.
            items: the pairs.
        """
        lines: dict[str, list[str]] = {split: [] for split in SPLITS}
        for folder in (self.images, self.masks):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number, item in zip(count(1), items, strict=False):
            name = self.file_name(number, item.split)
            write_image(root / self.images / name, item.image)
            write_image(root / self.masks / name, np.where(item.mask != 0, 255, 0).astype(np.uint8))
            lines[item.split].append(f"{name if self.name_suffix else PurePosixPath(name).stem} {item.text}\n")
        for split, own in lines.items():
            (root / f"output_phrase_{split}.txt").write_text("".join(own), encoding="utf-8")

    def file_name(self, number: int, split: str) -> str:
        """The name of a pair's files."""
        return f"{number}{self.suffix}"

    def _is_copy(self, root: Path) -> bool:
        named = (f"output_phrase_{split}.txt" for split in SPLITS)
        return not any((root / name).exists() for name in named) and bool(table_files(root))

    def _category(self, text: str) -> str:
        return match_category(text, self.info.classes, self.synonyms)

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        if self._is_copy(root):
            return scan(root, self.columns, self.threshold, self._category, report)
        return self._scan_lines(root, report)

    def _scan_lines(self, root: Path, report: Report) -> Iterator[ListedPair]:
        used: set[str] = set()
        # Two expressions about one picture and one mask mix nothing; they may still be a slip.
        lines = Claims("file", report, "warning")
        for split in SPLITS:
            listing = f"output_phrase_{split}.txt"
            try:
                data = (root / listing).read_bytes()
            except OSError as error:
                report(Finding("error", listing, f"file cannot be read ({error.strerror})", "format"))
                continue
            for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"").split(b"\n"), 1):
                where = f"{listing}:{number}"
                try:
                    words = line.decode("utf-8").strip().split(maxsplit=1)
                except UnicodeDecodeError:
                    report(Finding("error", where, "line is not UTF-8", "non-utf8"))
                    continue
                if not words:
                    continue
                name = words[0] if words[0].lower().endswith(self.suffix) else words[0] + self.suffix
                if PurePosixPath(name).name != name:
                    report(Finding("error", where, f"{words[0]!r} is no file name", "format"))
                    continue
                used.add(name)
                lines.claim(name, where)
                text = words[1] if len(words) > 1 else ""
                yield ListedPair(
                    sample_id=PurePosixPath(name).stem,
                    split=split,
                    text=text,
                    image=f"{self.images}/{name}",
                    category=self._category(text),
                    where=where,
                    mask_file=f"{self.masks}/{name}",
                    mask=partial(self._mask, root / self.masks / name),
                )
        for folder in (self.images, self.masks):
            for path in sorted((root / folder).glob(f"*{self.suffix}")):
                if path.name not in used:
                    report(Finding("info", f"{folder}/{path.name}", "file is named by no line", "unused-file"))

    def _mask(self, path: Path, size: tuple[int, int]) -> MaskRead:
        return read_mask_file(path, self.threshold)

    def _plant(self, root: Path, faults: Sequence[str]) -> None:
        names = sorted((path.name for path in (root / self.images).iterdir()), key=lambda name: (len(name), name))
        listing = root / "output_phrase_train.txt"

        def first_line(content: bytes) -> None:
            listing.write_bytes(b"\n".join([content, *listing.read_bytes().split(b"\n")[1:]]))

        def grey_values() -> None:
            path = root / self.masks / names[0]
            write_image(path, np.where(read_labels(path) > 0, 200, 0).astype(np.uint8))

        def halve() -> None:
            path = root / self.images / names[0]
            write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

        stem = PurePosixPath(names[0]).stem.encode()
        fake.damage(
            faults,
            {
                "missing-image": lambda: (root / self.images / names[1]).unlink(),
                "corrupt-image": lambda: fake.cut_short(root / self.images / names[2]),
                "missing-mask": lambda: (root / self.masks / names[1]).unlink(),
                "corrupt-mask": lambda: fake.cut_short(root / self.masks / names[2]),
                "size-mismatch": halve,
                "mask-values": grey_values,
                "unknown-id": lambda: first_line(b"999999 a ship that is not there"),
                "non-utf8": lambda: first_line(stem + b" a ship \xff\xfe"),
                "windows-lines": lambda: listing.write_bytes(listing.read_bytes().replace(b"\n", b"  \r\n")),
            },
        )
