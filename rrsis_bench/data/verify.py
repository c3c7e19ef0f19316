"""Makes pairs of a source's entries: `prepare` stops at the first bad file, `verify` lists all bad files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from rrsis_bench.data import empty_truth
from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, MissingMaskError, area
from rrsis_bench.data.pixels import (
    ImageError,
    MissingImageError,
    PixelRule,
    RefusedImageError,
    open_image,
    pixel_hash,
)
from rrsis_bench.data.sources.base import Finding, ListedPair, Report
from rrsis_bench.data.text import normalise_text
from rrsis_bench.errors import MissingResourceError

SIZE_TOLERANCE = 0.05
"""A mask may differ from its image by this share of a side (RRSIS-D holds 800x787 images with 800x800 masks)."""

BLOCKING = frozenset(
    {
        "missing-image",
        "corrupt-image",
        "refused-image",
        "missing-mask",
        "corrupt-mask",
        "size-mismatch",
        "unknown-id",
        "duplicate-id",
        "file-name",
        "non-utf8",
        "format",
    }
)
"""Checks whose errors no sample can be made from. The others are reported by `verify` and do not stop a preparation."""

_CHUNK = 512
_AS_STORED = PixelRule()


@dataclass(frozen=True)
class Examined:
    """An entry with the content of its files; `pair` is None when a file cannot be used."""

    entry: ListedPair
    pair: Pair | None
    pixels: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Image:
    pixels: str
    height: int
    width: int
    error: Finding | None
    notes: tuple[Finding, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)


def sizes_agree(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a mask's (height, width) is the image's within the tolerance."""
    return all(abs(m - i) <= SIZE_TOLERANCE * i for m, i in zip(mask, image, strict=True))


def examine(
    root: Path, entries: Iterable[ListedPair], title: str = "", rule: PixelRule = _AS_STORED
) -> Iterator[Examined]:
    """Open the files of entries in a pool of threads, in order, with a progress bar where there is a terminal.

    Args:
        root: data root.
        entries: what to open.
        title: shown beside the progress bar.
        rule: how images are read where their files do not say.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    listed = list(entries)
    images: dict[str, _Image] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    workers = min(8, os.cpu_count() or 1)
    progress = Progress(*columns, console=console, transient=True)
    # Older releases of rich end even a bar that is switched off with an empty line.
    shown = progress if console.is_terminal else nullcontext()
    with ThreadPoolExecutor(workers) as pool, shown:
        task = progress.add_task(f"reading {title}", total=len(listed))
        remaining = iter(listed)
        while chunk := list(islice(remaining, _CHUNK)):
            unseen = list(dict.fromkeys(entry.image for entry in chunk if entry.image not in images))
            images.update(zip(unseen, pool.map(lambda name: _open_image(root, name, rule), unseen), strict=True))
            for done in pool.map(lambda entry: _examine(entry, images[entry.image]), chunk):
                progress.advance(task)
                yield done


def prepare_entries(
    root: Path,
    scan: Callable[[Report], Iterable[ListedPair]],
    name: str,
    info: SourceInfo,
    rule: PixelRule = _AS_STORED,
) -> Iterator[Pair]:
    """The pairs of a source's entries; ids are made unique and copies of a photograph get one image id.

    Args:
        root: data root.
        scan: lists the entries and reports what is wrong with the listing itself.
        name: name of the source, for messages.
        info: the data set.
        rule: how images are read where their files do not say.

    Raises:
        MissingResourceError: a file that cannot be used.
    """

    def refuse(finding: Finding) -> None:
        if finding.severity == "error" and finding.check in BLOCKING:
            remedy = "" if finding.check == "refused-image" else f"Replace the file (from {info.where}); "
            raise MissingResourceError(
                f"{info.title} in {root}: {finding.file}: {finding.message}. {remedy}"
                f"`rrsis-bench data verify {name}` lists all such files."
            )

    sample_ids: set[str] = set()
    image_ids = _ImageIds()
    for examined in examine(root, scan(refuse), info.title, rule):
        for finding in examined.findings:
            refuse(finding)
        pair = examined.pair
        if pair is not None:
            names = chain([pair.sample_id], (f"{pair.sample_id}#{repeat}" for repeat in count(2)))
            sample_id = next(name for name in names if name not in sample_ids)
            sample_ids.add(sample_id)
            yield Pair(
                sample_id=sample_id,
                image_id=image_ids.of(examined.pixels, examined.entry.image_name or pair.image),
                image=pair.image,
                width=pair.width,
                height=pair.height,
                rle=pair.rle,
                text=pair.text,
                split=pair.split,
                category=pair.category,
                pixels=pair.pixels,
                empty=pair.empty,
            )


def verify_entries(
    root: Path,
    scan: Callable[[Report], Iterable[ListedPair]],
    info: SourceInfo,
    rule: PixelRule = _AS_STORED,
    empty: EmptyTruth = "skip",
) -> list[Finding]:
    """Every check on every entry. Errors come first, then warnings, then notes.

    Args:
        root: data root.
        scan: lists the entries and reports what is wrong with the listing itself.
        info: the data set, with its published counts.
        rule: how images are read where their files do not say.
        empty: what is done with samples whose truth is empty.
    """
    findings: list[Finding] = []
    examined: list[Examined] = []
    for item in examine(root, scan(findings.append), info.title, rule):
        findings.extend(item.findings)
        examined.append(item)
    findings += _duplicates(examined)
    findings += _copies(examined)
    findings += _counts([item.entry for item in examined], info)
    counts = Counter(item.entry.split for item in examined if item.pair is not None and item.pair.empty)
    if told := empty_truth.told({split: counts[split] for split in SPLITS}, empty):
        findings.append(Finding("info" if empty == "no-target" else "warning", ".", told, "empty-mask"))
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(
        set(findings), key=lambda finding: (order[finding.severity], finding.check, finding.file, finding.message)
    )


class ScannedSource:
    """Base class of sources that list their folder entry by entry; it prepares and verifies for all of them.

    Attributes:
        name: of the source, for messages.
        info: what a user should know of the data set.
        pixels: how its images are read where their files alone do not say.
        empty_truth: what is done with samples whose truth is empty.
    """

    name: ClassVar[str]
    info: ClassVar[SourceInfo]
    pixels: PixelRule = _AS_STORED
    empty_truth: EmptyTruth = "skip"
    dataset: str = ""

    def key_files(self, root: Path) -> list[Path]:
        """The files and folders without which there is nothing to read."""
        raise NotImplementedError

    def prepare(self, root: Path) -> Iterator[Pair]:
        """The pairs of all splits."""
        self.key_files(root)
        name = self.dataset or self.name
        return prepare_entries(root, lambda report: self._scan(root, report), name, self.info, self.pixels)

    def verify(self, root: Path) -> list[Finding]:
        """Every check on every file."""
        self.key_files(root)
        scan = partial(self._scan, root)
        return verify_entries(root, scan, self.info, self.pixels, self.empty_truth)

    def _scan(self, root: Path, report: Report) -> Iterable[ListedPair]:
        raise NotImplementedError


class _ImageIds:
    """Readable image ids: the stem of the first file that shows a photograph, or its path if the stem is taken."""

    def __init__(self) -> None:
        self._by_pixels: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, pixels: str, image: str) -> str:
        if pixels not in self._by_pixels:
            path = PurePosixPath(image)
            names = chain([path.stem, path.as_posix()], (f"{path.as_posix()}#{repeat}" for repeat in count(2)))
            name = next(name for name in names if name not in self._taken)
            self._by_pixels[pixels] = name
            self._taken.add(name)
        return self._by_pixels[pixels]


def _open_image(root: Path, name: str, rule: PixelRule) -> _Image:
    try:
        with open_image(root / name, rule) as image:
            digest = pixel_hash(image.read())
    except ImageError as error:
        checks = {MissingImageError: "missing-image", RefusedImageError: "refused-image"}
        check = checks.get(type(error), "corrupt-image")
        return _Image("", 0, 0, Finding("error", name, f"image {error}", check))
    notes = tuple(Finding("warning", name, note.message, note.check) for note in image.notes if note.check)
    return _Image(digest, image.height, image.width, None, notes, image.applied)


def _examine(entry: ListedPair, image: _Image) -> Examined:
    findings = [*image.notes] if image.error is None else [image.error]
    if not normalise_text(entry.text):
        findings.append(Finding("error", entry.where, "expression is empty", "empty-text"))
    if any("\ud800" <= letter <= "\udfff" for letter in entry.text):
        findings.append(Finding("error", entry.where, "expression is not UTF-8", "non-utf8"))
    pair = None
    # A mask is checked even where its image is broken; polygons then have no frame, which an empty one stands for.
    size = (image.height, image.width)
    try:
        read = entry.mask(size)
        covered = area(read.rle)
    except MaskError as error:
        missing = isinstance(error, MissingMaskError)
        if image.error is None or missing:
            findings.append(
                Finding("error", entry.mask_file, f"mask {error}", "missing-mask" if missing else "corrupt-mask")
            )
        return Examined(entry, None, image.pixels, tuple(findings))
    height, width = (int(side) for side in read.rle["size"])
    if read.remark:
        findings.append(Finding("warning", entry.mask_file, read.remark, "mask-values"))
    if covered == 0:
        findings.append(Finding("info", entry.mask_file, "mask is empty", "empty-mask"))
    elif covered == height * width:
        findings.append(Finding("warning", entry.mask_file, "mask covers the whole image", "full-mask"))
    if image.error is None:
        if (height, width) != size:
            near = sizes_agree((height, width), size)
            note = "; it is resized to the image's input size" if near else ""
            message = f"mask is {width}x{height} but image {entry.image} is {size[1]}x{size[0]}{note}"
            findings.append(Finding("warning" if near else "error", entry.mask_file, message, "size-mismatch"))
        pair = Pair(
            entry.sample_id, "", entry.image, size[1], size[0], read.rle, entry.text, entry.split, entry.category,
            image.reading, empty=covered == 0,
        )  # fmt: skip
    return Examined(entry, pair, image.pixels, tuple(findings))


def _duplicates(examined: Sequence[Examined]) -> Iterator[Finding]:
    first: dict[tuple[str, str], str] = {}
    for item in examined:
        text = normalise_text(item.entry.text).casefold()
        key = (item.pixels or item.entry.image, text)
        if text and key in first:
            message = f'image and expression "{normalise_text(item.entry.text)}" repeat {first[key]}'
            yield Finding("warning", item.entry.where, message, "duplicate")
        first.setdefault(key, item.entry.where)


def _copies(examined: Sequence[Examined]) -> Iterator[Finding]:
    """Report equal pixels: an error between two splits, a note within one (RefSegRS has a copy for every line)."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in examined:
        if item.pixels and item.entry.image not in groups[item.pixels][item.entry.split]:
            groups[item.pixels][item.entry.split].append(item.entry.image)
    for splits in groups.values():
        if len(splits) > 1:
            for split, names in splits.items():
                others = "; ".join(f"{other}: {_some(files)}" for other, files in splits.items() if other != split)
                for name in names:
                    yield Finding("error", name, f"image of {split} has the same pixels as {others}", "leak")
        for split, names in splits.items():
            if len(names) > 1:
                message = f"{len(names)} files of {split} show the same pixels: {_some(names)}"
                yield Finding("info", names[0], message, "copies")


def _counts(entries: Sequence[ListedPair], info: SourceInfo) -> Iterator[Finding]:
    for split, published in info.counts.items():
        own = [entry for entry in entries if entry.split == split]
        if len(own) != published:
            where = own[0].where.rpartition(":")[0] or own[0].where.rpartition("#")[0] if own else "."
            yield Finding("warning", where, f"{split} has {len(own):,} pairs, published are {published:,}", "count")


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
