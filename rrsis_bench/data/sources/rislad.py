"""RIS-LAD (arXiv 2507.20920): low-altitude drone images, one mask file for each expression.

    <root>/images/…, <root>/masks/…
    <root>/ann/{train,val,test}.json      [{"image": ..., "mask": ..., "expression": ...}, ...]

An entry names a file of `images` or `masks`, or a path below the root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.sources.base import Finding, ListedPair, Report, read_mask_file, require
from rrsis_bench.data.verify import ScannedSource

IMAGES, MASKS, LISTS = "images", "masks", "ann"
FAKE_CATEGORIES = ("car", "bus", "boat")
"""Categories of made-up folders; the data set stores none."""


class RISLAD(ScannedSource):
    """The RIS-LAD folder."""

    name = "rislad"
    info = SourceInfo(
        title="RIS-LAD",
        paper="RIS-LAD: a benchmark for referring low-altitude drone image segmentation, arXiv 2507.20920",
        where="Google Drive file 1PmtaQH_F0AUoGWgpmDSpPu27E2XSdGd4",
        licence="research only",
        layout=f"{IMAGES}/, {MASKS}/, {LISTS}/{{train,val,test}}.json",
        kind="benchmark",
    )

    def key_files(self, root: Path) -> list[Path]:
        """The three lists and both folders."""
        lists = [root / LISTS / f"{split}.json" for split in SPLITS]
        return require([*lists, root / IMAGES, root / MASKS], root, self.dataset or self.name, self.info)

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up RIS-LAD folder; `size` is the image side (256 if None)."""
        fake.start_afresh(root)
        lists: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
        for number, item in enumerate(fake.items(n_per_split, size or 256, seed, FAKE_CATEGORIES, faults), 1):
            image, mask = f"{number:05d}.jpg", f"{number:05d}.png"
            write_image(root / IMAGES / image, item.image)
            write_image(root / MASKS / mask, item.mask * np.uint8(255))
            lists[item.split].append({"image": image, "mask": mask, "expression": item.text})
        (root / LISTS).mkdir()
        for split, entries in lists.items():
            (root / LISTS / f"{split}.json").write_text(json.dumps(entries), encoding="utf-8")
        _plant(root, faults)

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        for split in SPLITS:
            listing = f"{LISTS}/{split}.json"
            for number, entry in enumerate(read_list(root, listing, report)):
                where = f"{listing}#entry {number}"
                values = [
                    entry.get(key) if isinstance(entry, dict) else None for key in ("image", "mask", "expression")
                ]
                if not all(isinstance(value, str) for value in values):
                    report(Finding("error", where, "entry has no image, mask and expression that are texts", "format"))
                    continue
                image, mask = _below(IMAGES, str(values[0])), _below(MASKS, str(values[1]))
                if image is None or mask is None:
                    wrong = values[0] if image is None else values[1]
                    report(Finding("error", where, f"{wrong!r} is no path below the root", "format"))
                    continue
                yield ListedPair(
                    sample_id=f"{split}_{number}",
                    split=split,
                    text=str(values[2]).strip(),
                    image=image,
                    category="",
                    where=where,
                    mask_file=mask,
                    mask=lambda size, path=root / mask: read_mask_file(path, 0),  # type: ignore[misc]
                )


def read_list(root: Path, listing: str, report: Report) -> list[Any]:
    """The list in a JSON file; empty, after a report, if the file holds none.

    Args:
        root: the data root.
        listing: the file, relative to the root.
        report: takes the finding.
    """
    try:
        loaded = json.loads((root / listing).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        report(Finding("error", listing, "file is not UTF-8", "non-utf8"))
        return []
    except (OSError, ValueError) as error:
        report(Finding("error", listing, f"file is not as expected ({error})", "format"))
        return []
    if not isinstance(loaded, list):
        report(Finding("error", listing, "file holds no list", "format"))
        return []
    return loaded


def _below(folder: str, name: str) -> str | None:
    """The path of a named file relative to the root; None if it leads elsewhere."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        return None
    return f"{folder}/{name}" if len(path.parts) == 1 else path.as_posix()


def _plant(root: Path, faults: Sequence[str]) -> None:
    def first(changes: dict[str, Any]) -> None:
        path = root / LISTS / "train.json"
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries[0] |= changes
        path.write_text(json.dumps(entries), encoding="utf-8")

    def halve() -> None:
        path = root / IMAGES / "00001.jpg"
        write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

    fake.damage(
        faults,
        {
            "missing-image": (root / IMAGES / "00002.jpg").unlink,
            "corrupt-image": partial(fake.cut_short, root / IMAGES / "00003.jpg"),
            "missing-mask": (root / MASKS / "00002.png").unlink,
            "corrupt-mask": partial(fake.cut_short, root / MASKS / "00003.png"),
            "size-mismatch": halve,
            "outside": lambda: first({"image": "../elsewhere.jpg"}),
            "no-expression": lambda: first({"expression": None}),
            "corrupt-json": partial(fake.cut_short, root / LISTS / "train.json"),
        },
    )
