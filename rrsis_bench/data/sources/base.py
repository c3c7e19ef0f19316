"""The protocol of a data set's source, and the small pieces that sources share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.info import SourceInfo
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, MissingMaskError, Rle, encode
from rrsis_bench.data.pixels import ImageError, MissingImageError, PixelRule, foreground, read_labels
from rrsis_bench.data.text import class_spans
from rrsis_bench.errors import MissingResourceError

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, order=True)
class Finding:
    """One row of a verification report.

    Attributes:
        severity: `error` (verification fails), `warning` or `info`.
        file: the offending file relative to the data root, with `:line` or `#entry` where one file holds many.
        message: what is wrong.
        check: name of the check that found it, such as `missing-image`.
    """

    severity: Severity
    file: str
    message: str
    check: str = ""


@dataclass(frozen=True)
class LayoutItem:
    """One pair to be written in a data set's folder layout.

    Attributes:
        split: `train`, `val` or `test`.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 in {0, 1}.
        text: the expression.
        category: class name.
        image_key: items with equal keys show the same photograph; they follow one another.
    """

    split: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    text: str
    category: str
    image_key: str


@dataclass(frozen=True)
class ListedPair:
    """A pair as a source found it, before any file is opened.

    Attributes:
        sample_id: id in the data set; made unique later.
        split: `train`, `val` or `test`.
        text: the expression.
        image: path relative to the data root.
        category: class name or "".
        where: file and line (or entry) that names it.
        mask_file: file that holds the mask, relative to the root, for messages.
        mask: reads the mask, given the image's (height, width). Raises `MaskError`.
        image_name: file name that the image's id is made of, where `image` is no file; "" takes `image`.
    """

    sample_id: str
    split: str
    text: str
    image: str
    category: str
    where: str
    mask_file: str
    mask: Callable[[tuple[int, int]], MaskRead]
    image_name: str = ""


@dataclass(frozen=True)
class MaskRead:
    """A mask read from disk.

    Attributes:
        rle: COCO compressed RLE.
        remark: what is odd about the stored values, or "".
    """

    rle: Rle
    remark: str = ""


Report = Callable[[Finding], None]


class Source(Protocol):
    """A data set on disk.

    Attributes:
        name: of the source; `info` is about the data set of this name.
        info: what a user should know of it. `locate` replaces it by what the YAML file of the data set says.
        pixels: how its images are read where their files alone do not say.
        empty_truth: what is done with samples whose truth is empty; `verify` says it.
        dataset: name of the data set that it reads, which messages name; "" outside of `locate`.
    """

    name: str
    dataset: str
    info: SourceInfo
    pixels: PixelRule
    empty_truth: EmptyTruth

    def key_files(self, root: Path) -> list[Path]:
        """The files and folders that `prepare` reads; a folder stands for every file below it.

        A manifest is prepared again when one of these files changes.

        Raises:
            MissingResourceError: one without which there is nothing to read is missing.
        """

    def prepare(self, root: Path) -> Iterator[Pair]:
        """The pairs of all splits. Raises `MissingResourceError` at the first file that cannot be used."""

    def verify(self, root: Path) -> list[Finding]:
        """Every check on every file; never raises for bad data."""

    def write_fake(self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = ()) -> None:
        """Write a small made-up data set in the real layout, with the named faults planted."""


def read_mask_file(path: Path, threshold: int) -> MaskRead:
    """Read a mask from an image file, with a remark on values other than 0 and 255.

    Args:
        path: the file.
        threshold: a pixel is foreground where a channel is above it, or, if it is 0, where a channel is not 0.

    Raises:
        MaskError: missing or unreadable.
    """
    try:
        labels = read_labels(path)
    except MissingImageError as error:
        raise MissingMaskError(str(error)) from error
    except ImageError as error:
        raise MaskError(str(error)) from error
    held = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if labels.dtype == np.uint8 else np.unique(labels)
    odd = [value for value in held.tolist() if value not in (0, 255)]
    some = ", ".join(map(str, odd[:6])) + (", ..." if len(odd) > 6 else "")
    kept = f"above {threshold}" if threshold else "whatever is not 0"
    remark = f"mask holds values other than 0 and 255 ({some}); {kept} is foreground" if odd else ""
    return MaskRead(encode(foreground(labels, threshold)), remark)


def require(paths: Sequence[Path], root: Path, name: str, info: SourceInfo) -> list[Path]:
    """The given paths, if all exist.

    Raises:
        MissingResourceError: one does not exist; the message says where to get the data set and how to verify it.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        # The verb fetches it, or prints the steps.
        fetch = f" with `rrsis-bench data fetch {name}`" if info.hub or info.drive or info.steps else ""
        what = f"folder {root}" if not root.is_dir() else ", ".join(str(path) for path in missing)
        raise MissingResourceError(
            f"{info.title}: {what} does not exist. Expected under {root}: {info.layout}. Get it from {info.where} "
            f"(licence: {info.licence}){fetch}, set RRSIS_DATA to the folder above it (or pass "
            f"--root; to fit and test --data.root), then check it with "
            f"`rrsis-bench data verify {name}`."
        )
    return list(paths)


def match_category(text: str, names: tuple[str, ...], synonyms: Mapping[str, str] | None = None) -> str:
    """The class that an expression names, for data sets that store no class.

    Only whole words count (plurals too). The first class named is the target; a later one is part of a relation
    ("sidewalk along with tree"). Of several names at one place the longest wins ("road marking" over "road").

    Args:
        text: the expression.
        names: class names, lower case.
        synonyms: other wordings and the class each stands for.

    Returns:
        the class name, or "" where none is named.
    """
    others = synonyms or {}
    for _, _, name in class_spans(text, (*names, *others)):
        return others.get(name, name)
    return ""
