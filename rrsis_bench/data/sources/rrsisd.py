"""RRSIS-D (Liu et al., RMSIN, CVPR 2024): a REFER pickle, a COCO-like instance file, JPEG images of DIOR.

In copies of the data set `bbox` is x1,y1,x2,y2 (not used here) and `segmentation` a list with one compressed RLE. This
source reads dicts and polygons too. A mask is the union of its parts. Names of splits must match exactly.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rrsis_bench.data import fake
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.masks import MaskError, canonical, encode
from rrsis_bench.data.pixels import read_rgb, write_image
from rrsis_bench.data.safe_pickle import UnsafePickleError, load_plain
from rrsis_bench.data.sources.base import Finding, LayoutItem, ListedPair, MaskRead, Report, require
from rrsis_bench.data.sources.ids import Claims, Id, by_id, read_id
from rrsis_bench.data.verify import ScannedSource

CATEGORIES = (
    "airplane", "airport", "golf field", "expressway service area", "baseball field", "stadium", "ground track field",
    "storage tank", "basketball court", "chimney", "tennis court", "overpass", "train station", "ship",
    "expressway toll station", "dam", "harbor", "bridge", "vehicle", "windmill",
)  # fmt: skip
REFS = "rrsisd/refs(unc).p"
INSTANCES = "rrsisd/instances.json"
IMAGES = "images/rrsisd/JPEGImages"


class RRSISD(ScannedSource):
    """The RRSIS-D folder."""

    name = "rrsisd"
    info = SourceInfo(
        title="RRSIS-D",
        paper="Liu et al., Rotated Multi-Scale Interaction Network for Referring RS Image Segmentation, CVPR 2024",
        where="Google Drive folder 1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A (linked from github.com/Lsan2401/RMSIN)",
        licence="none stated; DIOR imagery, academic use",
        layout=f"{REFS}, {INSTANCES}, {IMAGES}/00001.jpg ...",
        counts={"train": 12181, "val": 1740, "test": 3481},
        kind="benchmark",
        classes=CATEGORIES,
        steps=(
            "open https://drive.google.com/drive/folders/1Xqi3Am2Vgm4a5tHqiV9tfaqKNovcuK3A (about 5 GB), or "
            "https://pan.baidu.com/s/1yZatV2w_bSXIP9QBv2lCrA with the code sjoe\n"
            "fetch refs(unc).p and instances.json into {root}/rrsisd\n"
            "fetch JPEGImages.zip and unpack it; the images are {root}/images/rrsisd/JPEGImages/00001.jpg and so on\n"
            "check: rrsis-bench data verify rrsisd"
        ),
    )

    def key_files(self, root: Path) -> list[Path]:
        """The pickle, the instance file and the image folder."""
        return require([root / REFS, root / INSTANCES, root / IMAGES], root, self.dataset or self.name, self.info)

    def write_fake(
        self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = (), size: int | None = None
    ) -> None:
        """A made-up RRSIS-D folder; `size` is the image side (800 as published)."""
        fake.start_afresh(root)
        write_layout(root, fake.items(n_per_split, size or 800, seed, CATEGORIES, faults))
        _plant(root, faults)

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        refs, instances = _load(root, report)
        annotations, categories, images = (
            {key: entry for key, (_, entry) in by_id(instances[part], part, INSTANCES, report).items()}
            for part in ("annotations", "categories", "images")
        )
        # Photographs are told apart by their pixels: two ids of one file mix nothing here.
        files = Claims("file_name", report, "warning")
        for key, entry in images.items():
            if entry.get("file_name"):
                files.claim(str(entry["file_name"]), f"{INSTANCES}#image {key!r}")
        # A reference's own id only names its samples, which prepare makes unique.
        ref_ids = Claims("ref_id", report, "warning")
        for number, ref in enumerate(refs):
            place = f"{REFS}#entry {number}"
            ref_id = read_id(ref.get("ref_id")) if isinstance(ref, dict) else None
            where = place if ref_id is None else f"{REFS}#{ref_id}"
            if not isinstance(ref, dict) or not isinstance(ref.get("sentences"), list):
                report(Finding("error", where, "reference is no mapping with sentences", "format"))
                continue
            if ref.get("split") not in SPLITS:
                report(Finding("warning", where, f"split {ref.get('split')!r} is not used", "unknown-split"))
                continue
            if ref_id is None:
                report(Finding("error", where, "reference has no ref_id that is a number or a text", "format"))
                continue
            ref_ids.claim(ref_id, place)
            annotation = _referred(ref, "ann_id", annotations, where, report)
            image = _referred(ref, "image_id", images, where, report)
            if annotation is None or image is None:
                continue
            other = annotation.get("image_id", ref["image_id"])
            if read_id(other) != image["id"]:
                message = f"annotation {annotation['id']} is of image {other}, not {image['id']}"
                report(Finding("error", where, message, "unknown-id"))
                continue
            if not _agree(ref, image, "image_id" in annotation, where, report):
                continue
            if annotation.get("iscrowd"):
                message = f"annotation {annotation['id']} is marked iscrowd; its reference is kept, as published"
                report(Finding("warning", where, message, "crowd"))
            category = read_id(ref.get("category_id", annotation.get("category_id")))
            named = None if category is None else categories.get(category)
            if named is None or "name" not in named:
                report(
                    Finding("warning", where, f"category_id {ref.get('category_id')} has no name", "unknown-category")
                )
            yield from self._sentences(ref, annotation, image, str((named or {}).get("name", "")), where, report)

    def _sentences(
        self,
        ref: Mapping[str, Any],
        annotation: Mapping[str, Any],
        image: Mapping[str, Any],
        category: str,
        where: str,
        report: Report,
    ) -> Iterator[ListedPair]:
        name = str(image.get("file_name") or ref.get("file_name") or "")
        if not name or PurePosixPath(name).name != name:
            report(Finding("error", where, f"file_name {name!r} is no file name", "format"))
            return
        sentences = ref["sentences"]
        if not sentences:
            report(Finding("error", where, "reference has no sentence", "empty-text"))
        for number, sentence in enumerate(sentences):
            raw = sentence.get("raw", sentence.get("sent")) if isinstance(sentence, dict) else None
            text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
            if not isinstance(text, str):
                report(Finding("error", where, "sentence has no text", "format"))
                continue
            if "\ufffd" in text:
                report(Finding("error", where, "expression is not UTF-8", "non-utf8"))
                continue
            suffix = f"_{number}" if len(sentences) > 1 else ""
            yield ListedPair(
                sample_id=f"{read_id(ref['ref_id'])}{suffix}",
                split=str(ref["split"]),
                text=text.strip(),
                image=f"{IMAGES}/{name}",
                category=category,
                where=where,
                mask_file=f"{INSTANCES}#{annotation['id']}",
                mask=partial(_mask, annotation.get("segmentation"), image),
            )


def _referred(
    ref: Mapping[str, Any], key: str, entries: Mapping[Id, dict[str, Any]], where: str, report: Report
) -> dict[str, Any] | None:
    """The entry that a reference names by an id; None, after a report, if there is none."""
    wanted = read_id(ref.get(key))
    found = None if wanted is None else entries.get(wanted)
    if found is None:
        report(Finding("error", where, f"{key} {ref.get(key)!r} is not in {INSTANCES}", "unknown-id"))
    return found


def _agree(ref: Mapping[str, Any], image: Mapping[str, Any], confirmed: bool, where: str, report: Report) -> bool:
    """Whether a reference's own file name leaves no doubt which image it means. `image_id` decides, as in REFER's code.

    Args:
        ref: the reference.
        image: the image of its `image_id`.
        confirmed: whether the annotation names the same image.
        where: the reference's place.
        report: takes the finding if the file names differ: an error if nothing confirms `image_id`.
    """
    own, file = ref.get("file_name"), image.get("file_name")
    if not own or not file or own == file:
        return True
    message = f"file_name {own!r} disagrees with image_id {image['id']!r}, which is {file!r} in {INSTANCES}"
    used = f"; {file!r} is used, since the annotation is of that image" if confirmed else ""
    report(Finding("warning" if confirmed else "error", where, message + used, "file-name"))
    return confirmed


def _mask(segmentation: Any, image: Mapping[str, Any], size: tuple[int, int]) -> MaskRead:
    """Read a mask. Polygons are in the frame that the file states, or else in that of the image."""
    height, width = image.get("height") or size[0], image.get("width") or size[1]
    if not isinstance(height, int) or not isinstance(width, int):
        raise MaskError("frame has no integer height and width")
    return MaskRead(canonical(segmentation, height, width))


def _load(root: Path, report: Report) -> tuple[list[Any], dict[str, list[dict[str, Any]]]]:
    """The pickle and the instance file. A file that cannot be read is reported and counts as empty."""
    nothing: dict[str, list[dict[str, Any]]] = {"annotations": [], "categories": [], "images": []}
    try:
        refs = load_plain(root / REFS)
    except (UnsafePickleError, OSError) as error:
        report(Finding("error", REFS, f"pickle is refused: {error}", "format"))
        return [], nothing
    if not isinstance(refs, list):
        report(Finding("error", REFS, "pickle holds no list of references", "format"))
        return [], nothing
    try:
        instances = json.loads((root / INSTANCES).read_text(encoding="utf-8-sig"))
        parts = {key: instances[key] for key in nothing}
        if not all(isinstance(part, list) for part in parts.values()):
            raise TypeError("images, annotations and categories must be lists")
    except UnicodeDecodeError:
        report(Finding("error", INSTANCES, "file is not UTF-8", "non-utf8"))
        return [], nothing
    except (OSError, ValueError, KeyError, TypeError) as error:
        report(Finding("error", INSTANCES, f"file is not as expected ({error})", "format"))
        return [], nothing
    return refs, parts


def write_layout(root: Path, items: Iterable[LayoutItem]) -> None:
    """Write pairs as an RRSIS-D folder, with the two surprises of the real one: bbox corners, listed RLE.

    Args:
        root: folder to write into.
        items: the pairs; consecutive items of one `image_key` share an image file.
    """
    refs: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: number for number, name in enumerate(CATEGORIES, 1)}
    key: str | None = None
    for number, item in enumerate(items, 1):
        height, width = item.image.shape[:2]
        if item.image_key != key:
            key = item.image_key
            images.append({"id": number, "file_name": f"{number:05d}.jpg", "height": height, "width": width})
            write_image(root / IMAGES / f"{number:05d}.jpg", item.image)
        image = images[-1]
        category = ids.setdefault(item.category, len(ids) + 1)
        rows, columns = np.nonzero(item.mask)
        box = (
            [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] if rows.size else [0] * 4
        )
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "area": int(rows.size),
                "segmentation": [encode(item.mask)],
            }
        )
        words = item.text.split()
        sentence = {"sent_id": number, "raw": item.text, "sent": item.text.lower(), "tokens": words}
        refs.append(
            {
                "ref_id": number,
                "ann_id": number,
                "image_id": image["id"],
                "category_id": category,
                "file_name": image["file_name"],
                "split": item.split,
                "sentences": [sentence],
                "sent_ids": [number],
            }
        )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    (root / REFS).parent.mkdir(parents=True, exist_ok=True)
    (root / REFS).write_bytes(pickle.dumps(refs, protocol=2))
    instances = {"images": images, "annotations": annotations, "categories": categories}
    (root / INSTANCES).write_text(json.dumps(instances), encoding="utf-8")


def _plant(root: Path, faults: Sequence[str]) -> None:
    def first_image(offset: int) -> Path:
        return sorted((root / IMAGES).iterdir())[offset]

    def crop() -> None:
        path = first_image(0)
        write_image(path, np.ascontiguousarray(read_rgb(path)[: -max(1, read_rgb(path).shape[0] // 60)]))

    def halve() -> None:
        path = first_image(0)
        write_image(path, np.ascontiguousarray(read_rgb(path)[::2, ::2]))

    def annotate(changes: Mapping[str, Any]) -> None:
        instances = json.loads((root / INSTANCES).read_text(encoding="utf-8"))
        instances["annotations"][0] |= changes
        (root / INSTANCES).write_text(json.dumps(instances), encoding="utf-8")

    def refer(changes: Mapping[str, Any]) -> None:
        refs = load_plain(root / REFS)
        refs[0] |= changes
        (root / REFS).write_bytes(pickle.dumps(refs, protocol=2))

    wrong_text = [{"sent_id": 1, "raw": b"a ship \xff\xfe", "sent": b"", "tokens": []}]
    broken = [{"size": [64, 64], "counts": "not an RLE!"}]
    fake.damage(
        faults,
        {
            "missing-image": lambda: first_image(1).unlink(),
            "corrupt-image": lambda: fake.cut_short(first_image(2)),
            "odd-size": crop,
            "size-mismatch": halve,
            "bad-rle": lambda: annotate({"segmentation": broken}),
            "unknown-id": lambda: refer({"ann_id": 10**6}),
            "unknown-image-id": lambda: refer({"image_id": 10**6}),
            "unknown-split": lambda: refer({"split": "testA"}),
            "non-utf8": lambda: refer({"sentences": wrong_text}),
            "hostile-pickle": lambda: _hostile(root / REFS, root / "harmed"),
            "corrupt-pickle": lambda: fake.cut_short(root / REFS),
            "corrupt-json": lambda: fake.cut_short(root / INSTANCES),
        },
    )


def _hostile(path: Path, harmed: Path) -> None:
    """A pickle that makes a folder when a plain unpickler reads it."""
    target = str(harmed).encode("utf-8")
    path.write_bytes(b"cos\nmkdir\n(V" + target + b"\ntR.")
