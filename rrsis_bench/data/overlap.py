"""Near-duplicate images of two data sets, by a perceptual hash and a look at the thumbnails. No torch.

The hash is the usual one of 64 bits (the signs of the 8 x 8 lowest frequencies of a 32 x 32 DCT about their median, as
in pHash), made by `cv2.dct`: neither ImageHash nor OpenCV's `img_hash` is among the suite's packages. Flat images share
hashes by chance: a pair must look alike too, with a correlation of the thumbnails of at least `ALIKE`. Another size,
JPEG and small changes of colour are seen through; a crop, a turn and a mirrored copy are not found.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.pixels import PixelRule, read_rgb
from rrsis_bench.data.prepare import Located, ensure_manifest, images_sha256
from rrsis_bench.errors import UsageError, UserError

FORMAT = 1
DISTANCE = 8
"""Largest number of different bits of a pair."""
ALIKE = 0.93
"""Least correlation of the thumbnails of a pair."""
_SIDE, _CHUNK = 32, 512


@dataclass(frozen=True)
class Seen:
    """An image of a data set.

    Attributes:
        dataset: name of the data set.
        split: a split that shows it.
        image_id: its photograph.
        image: its path under the data root.
    """

    dataset: str
    split: str
    image_id: str
    image: str


@dataclass(frozen=True)
class Twins:
    """Two images that look alike.

    Attributes:
        a: of the first data set.
        b: of the second.
        distance: number of different bits.
    """

    a: Seen
    b: Seen
    distance: int


@dataclass(frozen=True)
class Hashed:
    """The images of a data set.

    Attributes:
        dataset: its name.
        images_sha256: over paths and contents of all its images.
        seen: N images; one that several splits show stands once for each.
        bits: (N,) uint64 hashes.
        thumbs: (N, 1024) float32 thumbnails of mean 0 and length 1; zeros for a flat image.
    """

    dataset: str
    images_sha256: str
    seen: tuple[Seen, ...]
    bits: NDArray[np.uint64]
    thumbs: NDArray[np.float32]


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 as a grey thumbnail (32, 32)."""
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def perceptual_hash(thumb: NDArray[np.float32]) -> int:
    """The hash of a thumbnail (32, 32), as a whole number of 64 bits."""
    low = cv2.dct(thumb)[:8, :8].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hashed(located: Located) -> Hashed:
    """Read and hash every image of a data set once.

    Raises:
        MissingResourceError: an image is missing or damaged.
    """
    path = ensure_manifest(located)
    pairs: dict[tuple[str, str], Pair] = {}
    for pair in Manifest.open(path, empty_truth="keep"):
        pairs.setdefault((pair.split, pair.image), pair)
    thumbs: dict[str, NDArray[np.float32]] = {}
    for pair in pairs.values():
        if pair.image not in thumbs:
            thumbs[pair.image] = thumbnail(read_rgb(located.root / pair.image, PixelRule.from_config(pair.pixels)))
    seen = tuple(Seen(located.dataset, pair.split, pair.image_id, pair.image) for pair in pairs.values())
    bits = np.array([perceptual_hash(thumbs[one.image]) for one in seen], np.uint64)
    flat = np.stack([thumbs[one.image].ravel() for one in seen])
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    alike = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-3)
    return Hashed(located.dataset, images_sha256(path), seen, bits, alike)


def twins(a: Hashed, b: Hashed, distance: int = DISTANCE) -> list[Twins]:
    """Find all pairs of images that look alike, the closest first; in one data set each once, and none with itself.

    Args:
        a: images of the first data set.
        b: images of the second; the same object to search one data set.
        distance: largest number of different bits.
    """
    found: list[Twins] = []
    for start in range(0, len(a.seen), _CHUNK):
        different = np.bitwise_count(a.bits[start : start + _CHUNK, None] ^ b.bits[None])
        for row, column in zip(*np.nonzero(different <= distance), strict=True):
            one, other = a.seen[start + row], b.seen[column]
            if a is b and (start + row >= column or one.image == other.image):
                continue
            if float(a.thumbs[start + row] @ b.thumbs[column]) >= ALIKE:
                found.append(Twins(one, other, int(different[row, column])))
    return sorted(found, key=lambda pair: (pair.distance, pair.a.split, pair.a.image, pair.b.split, pair.b.image))


def tally(found: Sequence[Twins]) -> dict[tuple[str, str], int]:
    """Number of pairs by the two images' splits."""
    return dict(sorted(Counter((pair.a.split, pair.b.split) for pair in found).items()))


def text_of(a: Hashed, b: Hashed, found: Sequence[Twins]) -> str:
    """The list as JSON lines: what was compared, then a pair a line."""
    images = {one.dataset: one.images_sha256 for one in (a, b)}
    head = {"format": FORMAT, "a": a.dataset, "b": b.dataset, "distance": DISTANCE, "images_sha256": images}
    return "".join(json.dumps(line) + "\n" for line in (head, *map(asdict, found)))


@dataclass(frozen=True)
class Overlap:
    """What `--exclude-overlap` leaves out.

    Attributes:
        images: ids of the tested data set's test images with a twin in the training or validation split.
        sha256: of the file.
        images_sha256: data set -> sha256 over its images, when the list was made.
    """

    images: frozenset[str]
    sha256: str
    images_sha256: Mapping[str, str]

    def check(self, dataset: str, images: str) -> None:
        """Check that the list is of the images that a data set holds.

        Args:
            dataset: name of the data set.
            images: the sha256 over its images.

        Raises:
            UserError: it is of others.
        """
        if self.images_sha256[dataset] != images:
            raise UserError(
                f"--exclude-overlap: the images of {dataset} are not those that the list was made from; make it again: "
                f"rrsis-bench data overlap {' '.join((*self.images_sha256, dataset)[:2])}."
            )


def read_overlap(path: Path, tested: str, trained: str) -> Overlap:
    """Read a list that `data overlap` wrote.

    Args:
        path: the file.
        tested: the data set that is scored.
        trained: the data set that was trained on; it may be the same one.

    Raises:
        UsageError: no such list, or one of other data sets.
    """
    try:
        content = path.read_bytes()
        head, *lines = [json.loads(line) for line in content.decode("utf-8").splitlines()]
        datasets, version = {str(head["a"]), str(head["b"])}, head["format"]
        states = {name: str(head["images_sha256"][name]) for name in (str(head["a"]), str(head["b"]))}
        sides = [(line["a"], line["b"]) for line in lines]
        sides += [(b, a) for a, b in sides]
        images = frozenset(str(one["image_id"]) for one, other in sides if _leaks(one, other, tested, trained))
    except OSError as error:
        raise UsageError(f"--exclude-overlap: cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--exclude-overlap {path} is no list that `rrsis-bench data overlap` wrote.") from error
    if version != FORMAT:
        raise UsageError(f"--exclude-overlap {path} was written by another version of the suite; make it again.")
    if datasets != {tested, trained}:
        raise UsageError(
            f"--exclude-overlap {path} compares {' and '.join(sorted(datasets))}; write the list that is needed: "
            f"rrsis-bench data overlap {trained} {tested}."
        )
    return Overlap(images, hashlib.sha256(content).hexdigest(), states)


def _leaks(one: Mapping[str, Any], other: Mapping[str, Any], tested: str, trained: str) -> bool:
    """Whether the first image is tested and the second trained on or selected by."""
    return (
        one["dataset"] == tested and one["split"] == "test"
        and other["dataset"] == trained and other["split"] in ("train", "val")
    )  # fmt: skip


def picture(found: Sequence[Twins], roots: Mapping[str, Path], most: int = 24) -> NDArray[np.uint8]:
    """A contact sheet (H, W, 3) of the first pairs, two pairs a row, side by side.

    Args:
        found: pairs.
        roots: data set -> its folder.
        most: number of pairs to show.
    """
    side, gap = 160, 6
    tiles = []
    for pair in found[:most]:
        both = [cv2.resize(read_rgb(roots[one.dataset] / one.image), (side, side)) for one in (pair.a, pair.b)]
        tile = np.full((side + gap, 2 * side + 3 * gap, 3), 255, np.uint8)
        tile[gap:, gap : gap + side], tile[gap:, 2 * gap + side : 2 * gap + 2 * side] = both
        tiles.append(tile)
    if len(tiles) % 2:
        tiles.append(np.full_like(tiles[0], 255))
    return np.concatenate([np.concatenate(tiles[k : k + 2], axis=1) for k in range(0, len(tiles), 2)], axis=0)
