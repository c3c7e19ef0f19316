"""Any COCO-format instance annotation as a referring data set: expressions come from the checked grammar.

    <root>/<images>/…            the photographs, or tiles cut from them
    <root>/<annotations>         {"images": [...], "annotations": [...], "categories": [...]}
    <root>/<splits>              {"train": [photo, ...], "val": [...], "test": [...]}

An expression must fit its instance and no other, however small or cut off the others are. The options say which
instances may be referred to. The splits file lists photographs: overlapping tiles stay together. A pair's `image_id`
is its photograph, by which confidence intervals resample, since the tiles of a photograph depend on each other.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.info import SPLITS, SourceInfo
from rrsis_bench.data.manifest import Pair
from rrsis_bench.data.masks import MaskError, canonical, decode
from rrsis_bench.data.pixels import ImageError, PixelRule, read_rgb
from rrsis_bench.data.sources.base import Finding, ListedPair, MaskRead, Report, require
from rrsis_bench.data.synthetic.grammar import Expression, Thing, expressions
from rrsis_bench.data.verify import prepare_entries, verify_entries
from rrsis_bench.errors import UsageError

OUTLINE_POINTS = 64
"""Points of an instance's outline that are kept for measuring gaps, at most."""


@dataclass(frozen=True)
class _Image:
    """An image entry of the annotation file: its id, file, group (photograph) and size."""

    key: int
    file: str
    photo: str
    height: int
    width: int


@dataclass(frozen=True)
class _Instance:
    """An annotation with a mask that could be decoded."""

    key: int
    category: str
    rle: dict[str, Any]
    mask: NDArray[np.uint8] = field(repr=False)
    box: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def touches_border(self) -> bool:
        height, width = self.mask.shape
        return self.box[0] == 0 or self.box[1] == 0 or self.box[2] == width or self.box[3] == height


@dataclass(frozen=True)
class _Tile:
    """An image's things as the grammar wants them."""

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
        seed: of the kinds and wordings. Each image draws for itself: adding an image leaves the others as they were.
    """

    name = "coco"
    pixels = PixelRule()
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
        seed: int = 0,
    ) -> None:
        if per_object < 1 or min_area < 1:
            raise UsageError("the coco source needs per_object and min_area of at least 1.")
        self.images, self.annotations, self.splits, self.group = images, annotations, splits, group
        self.min_area, self.per_object, self.drop_border, self.seed = min_area, per_object, drop_border, seed
        self.exclude = frozenset(exclude)
        self.rename = dict(rename or {})

    def key_files(self, root: Path) -> list[Path]:
        """The annotation file, the split file and the image folder."""
        files = [root / self.images, root / self.annotations, root / self.splits]
        return require(files, root, self.name, self.info)

    def prepare(self, root: Path) -> Iterator[Pair]:
        """The pairs of all listed photographs; `image_id` is the photograph, `view` the tile."""
        self.key_files(root)
        photos: dict[str, str] = {}
        for pair in prepare_entries(
            root, lambda report: self._scan(root, report, photos), self.name, self.info, self.pixels
        ):
            photo = photos[pair.image]
            yield replace(pair, image_id=photo, view="" if pair.image_id == photo else pair.image_id)

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
        names = {
            entry["id"]: str(entry["name"]) for entry in _dicts(listing, "categories") if {"id", "name"} <= entry.keys()
        }
        images = list(self._image_entries(listing, report))
        known = {image.key for image in images}
        annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in _dicts(listing, "annotations"):
            where = f"{self.annotations}#{annotation.get('id')}"
            if annotation.get("image_id") not in known or annotation.get("category_id") not in names:
                report(Finding("error", where, "annotation of an unknown image or category", "unknown-id"))
            else:
                annotations[annotation["image_id"]].append(annotation)
        for image in images:
            split = split_of.get(image.photo)
            path = str(PurePosixPath(self.images, image.file))
            photos[path] = image.photo
            if split is None:
                report(Finding("info", path, f"photograph {image.photo} is in no split; left out", "unlisted"))
                continue
            instances = [self._instance(entry, names, image, report) for entry in annotations[image.key]]
            yield from self._describe(root, path, split, image, [found for found in instances if found is not None])

    def _describe(
        self, root: Path, path: str, split: str, image: _Image, instances: Sequence[_Instance]
    ) -> Iterator[ListedPair]:
        counted: dict[int, int] = defaultdict(int)
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

    def _expressions(self, path: Path, image: _Image, instances: Sequence[_Instance]) -> list[Expression]:
        if not instances:
            return []
        try:
            pixels = read_rgb(path, self.pixels)
        except ImageError:
            # Reported with the entries' other files; a grey stand-in keeps the annotations checked.
            pixels = np.full((image.height, image.width, 3), 127, np.uint8)
        things = [_thing(instance, pixels) for instance in instances]
        eligible = [index for index, instance in enumerate(instances) if self._may_be_referred_to(instance)]
        rng = np.random.default_rng((self.seed, zlib.crc32(image.file.encode("utf-8"))))
        return expressions(_Tile(things, (image.height, image.width)), rng, self.per_object, eligible)

    def _may_be_referred_to(self, instance: _Instance) -> bool:
        large = int(instance.mask.sum()) >= self.min_area
        return large and instance.category not in self.exclude and not (self.drop_border and instance.touches_border)

    def _instance(
        self, annotation: Mapping[str, Any], names: Mapping[int, str], image: _Image, report: Report
    ) -> _Instance | None:
        where = f"{self.annotations}#{annotation.get('id')}"
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
            report(Finding("error", where, "mask is empty", "empty-mask"))
            return None
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        category = names[annotation["category_id"]]
        said = self.rename.get(category, category).lower()
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return _Instance(int(annotation["id"]), said, rle, mask, box)

    def _image_entries(self, listing: Mapping[str, Any], report: Report) -> Iterator[_Image]:
        for number, entry in enumerate(_dicts(listing, "images")):
            try:
                file = str(entry["file_name"])
                yield _Image(entry["id"], file, self._photo(entry, file), int(entry["height"]), int(entry["width"]))
            except (KeyError, TypeError, ValueError) as error:
                where = f"{self.annotations}#images[{number}]"
                report(Finding("error", where, f"image entry lacks or garbles {error}", "format"))

    def _photo(self, entry: Mapping[str, Any], file: str) -> str:
        stem = PurePosixPath(file).stem
        if self.group == "stem":
            return stem
        return stem.partition("_")[0] if self.group == "before-underscore" else str(entry[self.group])

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


def _dicts(listing: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = listing.get(key, [])
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _stored(rle: dict[str, Any], size: tuple[int, int]) -> MaskRead:
    return MaskRead(rle)


def _thing(instance: _Instance, pixels: NDArray[np.uint8]) -> Thing:
    import cv2

    from rrsis_bench.data.synthetic.colours import name_colour

    mask = instance.mask
    colour, maybe = name_colour(pixels, mask) if pixels.shape[:2] == mask.shape else (None, frozenset())
    x0, y0, x1, y1 = instance.box
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1])
    rows, columns = np.nonzero(crop)
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
    outline = np.concatenate(contours).reshape(-1, 2).astype(np.float32)
    return Thing(
        category=instance.category,
        colour=colour,
        area=float(len(rows)),
        box=instance.box,
        centre=(float(columns.mean()) + x0 + 0.5, float(rows.mean()) + y0 + 0.5),
        maybe=maybe,
        outline=outline[:: -(-len(outline) // OUTLINE_POINTS)],
    )
