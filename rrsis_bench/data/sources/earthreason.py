"""EarthReason (Li et al., SegEarth-R1, 2025): questions about an image, answered by one mask or by "nothing there".

    <root>/{train,val,test}/{images,labels,QAs}/…

The files of the three folders belong together by their sorted order, as the released loader takes them. A label's
pixels other than 0 are the target. A QA file holds `questions` and `answer`; an empty answer means that there is none.
Each question is a sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.masks import area
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, read_mask_file, require
from rrsis_bench.data.verify import ScannedSource

FOLDERS = {"images": (".jpg", ".jpeg", ".png"), "labels": (".png",), "QAs": (".json", ".txt")}
"""Folder of a split -> suffixes of its files."""
FAKE_CATEGORIES = ("stadium", "airport", "dam")
"""Categories of made-up folders; the data set stores none."""


class EarthReason(ScannedSource):
    """The EarthReason folder."""

    name = "earthreason"
    info = SourceInfo(
        title="EarthReason",
        paper="Li et al., SegEarth-R1: Geospatial Pixel Reasoning via Large Language Model, 2025",
        where="https://huggingface.co/datasets/earth-insights/EarthReason",
        licence="Apache-2.0 packaging; its imagery has terms of its own",
        layout="{train,val,test}/{images,labels,QAs}/, files of equal number",
        kind="benchmark",
        hub="earth-insights/EarthReason",
    )

    def key_files(self, root: Path) -> list[Path]:
        """The nine folders."""
        folders = [root / split / folder for split in SPLITS for folder in FOLDERS]
        return require(folders, root, self.dataset or self.name, self.info)

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up EarthReason folder; `size` is the image side (256 if None).

        Each image has two questions. The last image of a split has no target if a split has more than three.
        """
        fake.start_afresh(root)
        own = list(fake.items(n_per_split, size or 256, seed, FAKE_CATEGORIES, faults))
        for number, item in enumerate(own):
            last = number + 1 == len(own) or own[number + 1].split != item.split
            empty = last and n_per_split > 3
            stem, split = f"{number + 1:05d}", root / item.split
            write_image(split / "images" / f"{stem}.jpg", item.image)
            write_image(split / "labels" / f"{stem}.png", np.zeros_like(item.mask) if empty else item.mask)
            (split / "QAs").mkdir(parents=True, exist_ok=True)
            questions = [item.text, f"where is {item.text}?"] if item.text else [""]
            asked = {"questions": questions, "answer": [] if empty else [f"It is the {item.category}."]}
            (split / "QAs" / f"{stem}.json").write_text(json.dumps(asked), encoding="utf-8")
        _plant(root, faults)

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        for split in SPLITS:
            columns = [_files(root, f"{split}/{folder}", suffixes) for folder, suffixes in FOLDERS.items()]
            numbers = dict(zip(FOLDERS, map(len, columns), strict=True))
            if len(set(numbers.values())) > 1:
                counted = ", ".join(f"{number} {folder}" for folder, number in numbers.items())
                message = f"files belong together by their order, but there are {counted}; the split is left out"
                report(Finding("error", split, message, "format"))
                continue
            for image, label, asked in zip(*columns, strict=True):
                if len({Path(name).stem for name in (image, label, asked)}) > 1:
                    message = f"by their order, {label} and {asked} belong to {image}, but their names differ"
                    report(Finding("warning", image, message, "file-name"))
                yield from _questions(root, split, image, label, asked, report)


def _files(root: Path, folder: str, suffixes: tuple[str, ...]) -> list[str]:
    names = [path.name for path in (root / folder).iterdir() if path.name.lower().endswith(suffixes)]
    return [f"{folder}/{name}" for name in sorted(names)]


def _questions(root: Path, split: str, image: str, label: str, asked: str, report: Report) -> Iterator[ListedPair]:
    try:
        content = json.loads((root / asked).read_text(encoding="utf-8-sig"))
        questions, answer = content["questions"], content["answer"]
    except UnicodeDecodeError:
        report(Finding("error", asked, "file is not UTF-8", "non-utf8"))
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        report(Finding("error", asked, f"file is not as expected ({error})", "format"))
        return
    if not isinstance(questions, list) or not questions or not all(isinstance(one, str) for one in questions):
        report(Finding("error", asked, "questions are no list of texts", "format"))
        return
    for number, question in enumerate(questions):
        yield ListedPair(
            sample_id=f"{Path(image).stem}_{number}",
            split=split,
            text=question.strip(),
            image=image,
            category="",
            where=f"{asked}#question {number}",
            mask_file=label,
            mask=partial(_label, root / label, not answer),
        )


def _label(path: Path, nothing: bool, size: tuple[int, int]) -> MaskRead:
    """Read a label whose values are classes or 255: what is not 0 is the target."""
    read = MaskRead(read_mask_file(path, 0).rle)
    if nothing == (area(read.rle) == 0):
        return read
    said = "the answer is empty, but the label is not" if nothing else "the answer is not empty, but the label is"
    return MaskRead(read.rle, f"{said}; the label decides")


def _plant(root: Path, faults: Sequence[str]) -> None:
    train = root / "train"

    def ask(changes: dict[str, Any]) -> None:
        path = train / "QAs" / "00001.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    def halve() -> None:
        path = train / "images" / "00001.jpg"
        write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

    fake.damage(
        faults,
        {
            "missing-image": (train / "images" / "00002.jpg").unlink,
            "corrupt-image": partial(fake.cut_short, train / "images" / "00003.jpg"),
            "corrupt-mask": partial(fake.cut_short, train / "labels" / "00003.png"),
            "size-mismatch": halve,
            "other-name": lambda: (train / "labels" / "00001.png").rename(train / "labels" / "00000.png"),
            "no-answer": lambda: ask({"answer": []}),
            "no-questions": lambda: ask({"questions": []}),
            "corrupt-json": partial(fake.cut_short, train / "QAs" / "00001.json"),
        },
    )
