"""Data sets in REFER's form: a pickle of references, a COCO-like instance file, and a folder of images.

`segmentation` may be a compressed RLE, a list with one, or polygons; a mask is the union of its parts. Names of splits
must match exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from rrsis_bench.data.info import SPLITS
from rrsis_bench.data.masks import MaskError, canonical
from rrsis_bench.data.safe_pickle import UnsafePickleError, load_plain
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, require
from rrsis_bench.data.sources.ids import Claims, Id, by_id, read_id
from rrsis_bench.data.verify import ScannedSource


class ReferSource(ScannedSource):
    """A folder in REFER's form.

    Attributes:
        refs: the pickle, relative to the root.
        instances: the instance file, relative to the root.
        images: the image folder, relative to the root.
    """

    refs: ClassVar[str]
    instances: ClassVar[str]
    images: ClassVar[str]

    def key_files(self, root: Path) -> list[Path]:
        """The pickle, the instance file and the image folder."""
        files = [root / self.refs, root / self.instances, root / self.images]
        return require(files, root, self.dataset or self.name, self.info)

    def _scan(self, root: Path, report: Report) -> Iterator[ListedPair]:
        refs, instances = self._load(root, report)
        annotations, categories, images = (
            {key: entry for key, (_, entry) in by_id(instances[part], part, self.instances, report).items()}
            for part in ("annotations", "categories", "images")
        )
        # Photographs are told apart by their pixels: two ids of one file mix nothing here.
        files = Claims("file_name", report, "warning")
        for key, entry in images.items():
            if entry.get("file_name"):
                files.claim(str(entry["file_name"]), f"{self.instances}#image {key!r}")
        # A reference's own id only names its samples, which prepare makes unique.
        ref_ids = Claims("ref_id", report, "warning")
        for number, ref in enumerate(refs):
            place = f"{self.refs}#entry {number}"
            ref_id = read_id(ref.get("ref_id")) if isinstance(ref, dict) else None
            where = place if ref_id is None else f"{self.refs}#{ref_id}"
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
            annotation = self._referred(ref, "ann_id", annotations, where, report)
            image = self._referred(ref, "image_id", images, where, report)
            if annotation is None or image is None:
                continue
            other = annotation.get("image_id", ref["image_id"])
            if read_id(other) != image["id"]:
                message = f"annotation {annotation['id']} is of image {other}, not {image['id']}"
                report(Finding("error", where, message, "unknown-id"))
                continue
            if not self._agree(ref, image, "image_id" in annotation, where, report):
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
        sentences = self._wordings(ref["sentences"])
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
                image=f"{self.images}/{name}",
                category=category,
                where=where,
                mask_file=f"{self.instances}#{annotation['id']}",
                mask=partial(self._mask, annotation.get("segmentation"), image),
            )

    def _referred(
        self, ref: Mapping[str, Any], key: str, entries: Mapping[Id, dict[str, Any]], where: str, report: Report
    ) -> dict[str, Any] | None:
        """The entry that a reference names by an id; None, after a report, if there is none."""
        wanted = read_id(ref.get(key))
        found = None if wanted is None else entries.get(wanted)
        if found is None:
            report(Finding("error", where, f"{key} {ref.get(key)!r} is not in {self.instances}", "unknown-id"))
        return found

    def _agree(
        self, ref: Mapping[str, Any], image: Mapping[str, Any], confirmed: bool, where: str, report: Report
    ) -> bool:
        """Whether a reference's own file name leaves no doubt which image it means.

        `image_id` decides, as in REFER's code.

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
        message = f"file_name {own!r} disagrees with image_id {image['id']!r}, which is {file!r} in {self.instances}"
        used = f"; {file!r} is used, since the annotation is of that image" if confirmed else ""
        report(Finding("warning" if confirmed else "error", where, message + used, "file-name"))
        return confirmed

    def _load(self, root: Path, report: Report) -> tuple[list[Any], dict[str, list[dict[str, Any]]]]:
        """The pickle and the instance file. A file that cannot be read is reported and counts as empty."""
        nothing: dict[str, list[dict[str, Any]]] = {"annotations": [], "categories": [], "images": []}
        try:
            refs = load_plain(root / self.refs)
        except (UnsafePickleError, OSError) as error:
            report(Finding("error", self.refs, f"pickle is refused: {error}", "format"))
            return [], nothing
        if not isinstance(refs, list):
            report(Finding("error", self.refs, "pickle holds no list of references", "format"))
            return [], nothing
        try:
            instances = json.loads((root / self.instances).read_text(encoding="utf-8-sig"))
            parts = {key: instances[key] for key in nothing}
            if not all(isinstance(part, list) for part in parts.values()):
                raise TypeError("images, annotations and categories must be lists")
        except UnicodeDecodeError:
            report(Finding("error", self.instances, "file is not UTF-8", "non-utf8"))
            return [], nothing
        except (OSError, ValueError, KeyError, TypeError) as error:
            report(Finding("error", self.instances, f"file is not as expected ({error})", "format"))
            return [], nothing
        return refs, parts

    def _mask(self, segmentation: Any, image: Mapping[str, Any], size: tuple[int, int]) -> MaskRead:
        """Read a mask. Polygons are in the frame that the file states, or else in that of the image."""
        height, width = image.get("height") or size[0], image.get("width") or size[1]
        if not isinstance(height, int) or not isinstance(width, int):
            raise MaskError("frame has no integer height and width")
        return MaskRead(canonical(segmentation, height, width))

    def _wordings(self, sentences: Sequence[Any]) -> Sequence[Any]:
        """The sentences of a reference that are samples."""
        return sentences
