"""Any COCO-format instance annotation as a referring data set: expressions come from the checked grammar.

    <root>/<images>/…            the photographs, or tiles cut from them
    <root>/<annotations>         {"images": [...], "annotations": [...], "categories": [...]}
    <root>/<splits>              {"train": [photo, ...], "val": [...], "test": [...]}

An expression must fit its instance and no other, however small or cut off the others are. The options say which
instances may be referred to. A region with `iscrowd` is a group: no expression refers to it, and none could mean one of
its members. The splits file lists photographs: overlapping tiles stay together. A pair's `image_id`
is its photograph, by which confidence intervals resample, since the tiles of a photograph depend on each other.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rrsis_bench.data.empty_truth import EmptyTruth
from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, canonical, decode
from rrsis_bench.data.pixels import ImageError, PixelRule, read_rgb
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, require
from rrsis_bench.data.sources.coco_instance import Instance, as_thing
from rrsis_bench.data.sources.ids import CHECK, Claims, Id, by_id, read_id
from rrsis_bench.data.synthetic.grammar import Expression, Thing, expressions
from rrsis_bench.data.verify import prepare_entries, verify_entries
from rrsis_bench.errors import UsageError

CROWDS = ("group", "object")


@dataclass(frozen=True)
class _Image:
    """An image entry of the annotation file: its id, file, group (photograph) and size."""

    key: Id
    file: str
    photo: str
    height: int
    width: int


@dataclass(frozen=True)
class _Tile:
    """The objects of one image and its size, in the form that the grammar reads."""

    objects: Sequence[Thing]
    size: tuple[int, int]


class CocoInstances:
    """Expressions about the instances of a COCO-format annotation.

    Args:
        images: folder of the images, below the root.
        annotations: the annotation file, below the root.
        splits: the split file, below the root: split -> list of photographs.
        group: what a photograph is: `stem` (every image is its own), `before-underscore` (the file's stem up to the
            first `_`), or the name of a field of the image entries.
        min_area: instances of fewer pixels are rivals only.
        exclude: categories that are rivals only.
        rename: category -> its name in expressions; other categories keep their name, in lower case.
        per_object: most expressions of one instance, each of another kind.
        drop_border: whether instances cut off by the border are rivals only.
        iscrowd: what a region with `iscrowd: 1` is: a `group`, or an `object`, as some tools write single ones.
        seed: of the kinds and wordings. Each image draws for itself: adding an image leaves the others as they were.
    """

    name = "coco"
    pixels = PixelRule()
    empty_truth: EmptyTruth = "skip"
    dataset = ""
    info = SourceInfo(
        title="COCO-format instances",
        where="your own annotations",
        licence="that of your images",
        layout="an image folder, an annotation file (COCO instances) and a split file (split -> photographs)",
    )

    def __init__(
        self,
        images: str = "images",
        annotations: str = "instances.json",
        splits: str = "splits.json",
        group: str = "stem",
        min_area: int = 100,
        exclude: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        per_object: int = 1,
        drop_border: bool = False,
        iscrowd: str = "group",
        seed: int = 0,
    ) -> None:
        if per_object < 1 or min_area < 1:
            raise UsageError("the coco source needs per_object and min_area of at least 1.")
        if iscrowd not in CROWDS:
            raise UsageError(f"the coco source's iscrowd is 'group' or 'object', not {iscrowd!r}.")
        self.crowds_are_groups = iscrowd == "group"
        self.images, self.annotations, self.splits, self.group = images, annotations, splits, group
        self.min_area, self.per_object, self.drop_border, self.seed = min_area, per_object, drop_border, seed
        self.exclude = frozenset(exclude)
        self.rename = dict(rename or {})

    def key_files(self, root: Path) -> list[Path]:
        """The annotation file, the split file and the image folder."""
        files = [root / self.images, root / self.annotations, root / self.splits]
        return require(files, root, self.dataset or self.name, self.info)

    def prepare(self, root: Path) -> Iterator[Pair]:
        """The pairs of all listed photographs; `image_id` is the photograph."""
        self.key_files(root)
        photos: dict[str, str] = {}
        for pair in prepare_entries(
            root, lambda report: self._scan(root, report, photos), self.dataset or self.name, self.info, self.pixels
        ):
            yield replace(pair, image_id=photos[pair.image])

    def verify(self, root: Path) -> list[Finding]:
        """Every check on the images, the annotations and the split file."""
        self.key_files(root)
        return verify_entries(root, lambda report: self._scan(root, report, {}), self.info, self.pixels)

    def write_fake(self, root: Path, n_per_split: int, seed: int, faults: Sequence[str] = ()) -> None:
        """Write `n_per_split` drawn scenes per split in this layout; see `rrsis_bench.data.sources.coco_fake`."""
        from rrsis_bench.data.sources.coco_fake import write_fake

        write_fake(root, n_per_split, seed, faults, self.images, self.annotations, self.splits, self.group)

    def _scan(self, root: Path, report: Report, photos: dict[str, str]) -> Iterator[ListedPair]:
        """Entries of all images in file order; each image's photograph is added to `photos`."""
        listing = self._read_json(root, self.annotations, report)
        split_of = self._split_of(root, report)
        names = self._category_names(listing, report)
        images = list(self._image_entries(listing, report))
        for photo in split_of.keys() - {image.photo for image in images}:
            message = f"photograph {photo} of {split_of[photo]} is in no image entry"
            report(Finding("warning", self.splits, message, "unknown-id"))
        annotations = self._annotations_of(listing, {image.key for image in images}, names, report)
        for image in images:
            split = split_of.get(image.photo)
            path = str(PurePosixPath(self.images, image.file))
            photos[path] = image.photo
            if split is None:
                report(Finding("info", path, f"photograph {image.photo} is in no split; left out", "unlisted"))
                continue
            instances = [self._instance(entry, names, image, report) for entry in annotations[image.key]]
            yield from self._describe(root, path, split, image, [found for found in instances if found is not None])

    def _category_names(self, listing: Mapping[str, Any], report: Report) -> dict[Id, str]:
        names: dict[Id, str] = {}
        for key, (where, entry) in self._entries(listing, "categories", report).items():
            if isinstance(entry.get("name"), str) and entry["name"].strip():
                names[key] = entry["name"]
            else:
                report(Finding("error", where, f"category {key!r} has no name", "format"))
        return names

    def _annotations_of(
        self, listing: Mapping[str, Any], images: Container[Id], names: Container[Id], report: Report
    ) -> Mapping[Id, list[dict[str, Any]]]:
        """Image id -> its annotations, with checked ids."""
        found: dict[Id, list[dict[str, Any]]] = defaultdict(list)
        for key, (_, entry) in self._entries(listing, "annotations", report).items():
            image, category = read_id(entry.get("image_id")), read_id(entry.get("category_id"))
            where = f"{self.annotations}#{key}"
            if image is None or category is None or image not in images or category not in names:
                of = f"image {entry.get('image_id')!r} and category {entry.get('category_id')!r}"
                report(Finding("error", where, f"annotation of an unknown image or category ({of})", "unknown-id"))
            elif entry.get("iscrowd", 0) not in (0, 1):
                report(Finding("error", where, f"iscrowd is {entry['iscrowd']!r}, neither 0 nor 1", "format"))
            else:
                found[image].append({**entry, "category_id": category})
        return found

    def _describe(
        self, root: Path, path: str, split: str, image: _Image, instances: Sequence[Instance]
    ) -> Iterator[ListedPair]:
        counted: dict[Id, int] = defaultdict(int)
        for expression in self._expressions(root / path, image, instances):
            instance = instances[expression.index]
            counted[instance.key] += 1
            where = f"{self.annotations}#{instance.key}"
            yield ListedPair(
                sample_id=f"{PurePosixPath(image.file).stem}-{instance.key}-{counted[instance.key]}",
                split=split,
                text=expression.text,
                image=path,
                category=instance.category,
                where=where,
                mask_file=where,
                mask=partial(_stored, instance.rle),
            )

    def _expressions(self, path: Path, image: _Image, instances: Sequence[Instance]) -> list[Expression]:
        if not instances:
            return []
        try:
            pixels = read_rgb(path, self.pixels)
        except ImageError:
            # Reported with the entries' other files; a grey stand-in keeps the annotations checked.
            pixels = np.full((image.height, image.width, 3), 127, np.uint8)
        things = [as_thing(instance, pixels) for instance in instances]
        eligible = [index for index, instance in enumerate(instances) if self._may_be_referred_to(instance)]
        rng = np.random.default_rng((self.seed, zlib.crc32(image.file.encode("utf-8"))))
        return expressions(_Tile(things, (image.height, image.width)), rng, self.per_object, eligible)

    def _may_be_referred_to(self, instance: Instance) -> bool:
        large = int(instance.mask.sum()) >= self.min_area
        excluded = instance.group or instance.category in self.exclude
        return large and not excluded and not (self.drop_border and instance.touches_border)

    def _instance(
        self, annotation: Mapping[str, Any], names: Mapping[Id, str], image: _Image, report: Report
    ) -> Instance | None:
        where = f"{self.annotations}#{annotation['id']}"
        try:
            rle = canonical(annotation.get("segmentation"), image.height, image.width)
            mask = decode(rle)
        except MaskError as error:
            report(Finding("error", where, f"mask {error}", "corrupt-mask"))
            return None
        if mask.shape != (image.height, image.width):
            message = f"mask is {mask.shape[1]}x{mask.shape[0]} but the image {image.width}x{image.height}"
            report(Finding("error", where, message, "size-mismatch"))
            return None
        if not mask.any():
            report(Finding("warning", where, "mask is empty; no expression refers to it", "empty-mask"))
            return None
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        category = names[annotation["category_id"]]
        said = self.rename.get(category, category).lower()
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        group = self.crowds_are_groups and bool(annotation.get("iscrowd"))
        if group:
            report(Finding("info", where, "iscrowd: a group of objects; no expression refers to it", "crowd"))
        return Instance(annotation["id"], said, rle, mask, box, group)

    def _image_entries(self, listing: Mapping[str, Any], report: Report) -> Iterator[_Image]:
        files = Claims("file_name", report)
        named: dict[str, str] = {}
        for key, (where, entry) in self._entries(listing, "images", report).items():
            try:
                file = PurePosixPath(str(entry["file_name"])).as_posix()
                image = _Image(key, file, self._photo(entry, file), int(entry["height"]), int(entry["width"]))
            except (KeyError, TypeError, ValueError) as error:
                report(Finding("error", where, f"image entry lacks or garbles {error}", "format"))
                continue
            if not files.claim(file, where):
                continue
            if self.group == "stem" and named.setdefault(image.photo, file) != file:
                # Each is listed in the split file by its stem, so that both follow the first one.
                message = f"photograph {image.photo} is also {named[image.photo]}; state an image field as group"
                report(Finding("warning", where, message, CHECK))
            yield image

    def _photo(self, entry: Mapping[str, Any], file: str) -> str:
        stem = PurePosixPath(file).stem
        if self.group == "stem":
            return stem
        if self.group == "before-underscore":
            return stem.partition("_")[0]
        photo = read_id(entry[self.group])
        if photo is None:
            raise ValueError(f"'{self.group}'")
        return str(photo)

    def _split_of(self, root: Path, report: Report) -> dict[str, str]:
        """Photograph -> split. A photograph listed twice is reported and keeps its first split."""
        listed = self._read_json(root, self.splits, report)
        split_of: dict[str, str] = {}
        for split in SPLITS:
            photos = listed.get(split, [])
            if not isinstance(photos, list):
                report(Finding("error", self.splits, f"'{split}' is no list of photographs", "format"))
                continue
            for photo in map(str, photos):
                if split_of.setdefault(photo, split) != split:
                    message = f"photograph {photo} is in {split_of[photo]} and in {split}"
                    report(Finding("error", self.splits, message, "format"))
        return split_of

    def _entries(self, listing: Mapping[str, Any], part: str, report: Report) -> dict[Id, tuple[str, dict[str, Any]]]:
        entries = listing.get(part, [])
        if not isinstance(entries, list):
            report(Finding("error", f"{self.annotations}#{part}", "is no list", "format"))
            return {}
        return by_id(entries, part, self.annotations, report)

    @staticmethod
    def _read_json(root: Path, name: str, report: Report) -> dict[str, Any]:
        try:
            loaded = json.loads((root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            report(Finding("error", name, f"cannot be read as JSON: {error}", "format"))
            return {}
        if not isinstance(loaded, dict):
            report(Finding("error", name, "holds no mapping", "format"))
            return {}
        return loaded


def _stored(rle: dict[str, Any], size: tuple[int, int]) -> MaskRead:
    return MaskRead(rle)
