"""A split as a sequence of samples, ready for a method's InputSpec.

Random draws depend on (seed, epoch, index) alone, not on the number of workers or on which of them loads a sample.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from rrsis_bench.data import masks
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.pixels import ImageError, PixelRule, RefusedImageError, read_rgb
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import Augment, Augmenter, normalise, resize_image
from rrsis_bench.data.verify import sizes_agree
from rrsis_bench.errors import MissingResourceError, UserError
from rrsis_bench.nearest import resize_mask
from rrsis_bench.types import InputSpec, Sample, Tokenized

_TOKENS_KEPT = 65536
_REMEDY = "`rrsis-bench data verify NAME` lists all damaged files; replace them and prepare again."


@dataclass(frozen=True)
class Item:
    """One sample as a worker makes it; `collate` stacks items.

    Attributes:
        index: position in the split.
        sample_id: id of the sample.
        image_id: id of the photograph.
        image: (3, H, W) float32.
        mask: (H, W) uint8 in {0, 1}, at input size.
        truth: (Hm, Wm) uint8 in {0, 1}, native; None while training.
        tokens: the expression's tokens.
        text: the expression (rewritten where the image was mirrored).
        category: class name or "".
        image_key: equal for equal images of a split; "" for an image that was augmented, or of no split.
    """

    index: int
    sample_id: str
    image_id: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    tokens: Tokenized
    text: str
    category: str
    image_key: str = ""


class ReferringDataset(Dataset[Item]):
    """Image-expression pairs of one split."""

    def __init__(
        self,
        manifest: Manifest,
        root: str | Path,
        spec: InputSpec,
        training: bool = False,
        augment: Augment | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Load the tokenizer; images and masks are read sample by sample.

        Args:
            manifest: the pairs of the split.
            root: data root.
            spec: what the method wants to be fed.
            training: augment, and leave the native truth out.
            augment: augmentations, used in training only; None for none.
            seed: of all random draws.
        """
        self.manifest = manifest
        self.root = Path(root)
        self.spec = spec
        self.training = training
        self.seed = seed
        chosen = augment if isinstance(augment, Augment) else Augment.from_config(augment)
        self.augment = chosen if training else Augment()
        self._augmenter = Augmenter(self.augment)
        self._tokenize = load_tokenizer(spec)
        self._tokens: OrderedDict[str, Tokenized] = OrderedDict()
        # Shared memory: workers that live through all epochs must see the epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        boxed = np.random.default_rng((seed, 0x626F78)).permutation(len(manifest))
        self._boxed = frozenset(boxed[: round(self.augment.boxes * len(manifest))].tolist())
        self.text_from: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.manifest)

    @property
    def epoch(self) -> int:
        """The epoch that augmentation is drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; all workers see it."""
        self._epoch.fill_(epoch)

    def pair(self, index: int) -> Pair:
        """The pair at a position, with another sample's expression where expressions are permuted."""
        pair = self.manifest[index]
        if self.text_from is None:
            return pair
        return replace(pair, text=self.manifest[int(self.text_from[index])].text)

    def sample(self, index: int) -> Sample:
        """The pair as the data set gives it.

        Raises:
            MissingResourceError: image missing or unreadable, or mask undecodable or of another size than the image.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        pair = self.pair(index)
        image, mask = self._read(pair)
        return Sample(index, pair.sample_id, pair.image_id, image, mask, pair.text, pair.category)

    def __getitem__(self, index: int) -> Item:
        """The sample as the method wants it. Raises as `sample`."""
        sample = self.sample(index) if self.spec.reads_image else self._blind(index)
        image, mask, text = sample.image, sample.mask, sample.text
        if self.training:
            rng = np.random.default_rng((self.seed, self.epoch, sample.index))
            image, mask, text = self._augmenter(image, mask, text, sample.index in self._boxed, rng)
        return Item(
            index=sample.index,
            sample_id=sample.sample_id,
            image_id=sample.image_id,
            image=self._input(image),
            mask=resize_mask(mask, self.spec.image_size),
            truth=None if self.training else mask,
            tokens=self.tokens(text),
            text=text,
            category=sample.category,
        )

    def tokens(self, text: str) -> Tokenized:
        """Tokens of a text; the same text is tokenised once."""
        known = self._tokens.get(text)
        if known is None:
            known = self._tokenize(text)
            self._tokens[text] = known
            if len(self._tokens) > _TOKENS_KEPT:
                self._tokens.popitem(last=False)
        return known

    def cut(self) -> int:
        """Number of samples whose expression is longer than the method's `max_tokens` and loses its end."""
        return sum(self.tokens(self.pair(index).text).truncated for index in range(len(self)))

    def _input(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The image as the method wants it, (3, H, W); zeros for a method that reads no image."""
        if not self.spec.reads_image:
            return np.zeros((3, *self.spec.image_size), np.float32)
        return normalise(resize_image(image, self.spec), self.spec)

    def _blind(self, index: int) -> Sample:
        """The sample with a black image in place of its file."""
        pair, index = self.pair(index), index % len(self)
        mask = self._mask(pair)
        image = np.zeros((*mask.shape, 3), np.uint8)
        return Sample(index, pair.sample_id, pair.image_id, image, mask, pair.text, pair.category)

    def _mask(self, pair: Pair) -> NDArray[np.uint8]:
        try:
            return masks.decode(pair.rle)
        except masks.MaskError as error:
            raise MissingResourceError(
                f"mask of sample {pair.sample_id} in {self.manifest.path}: {error}. {_REMEDY}"
            ) from error

    def _read(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        path = self.root / pair.image
        try:
            image = read_rgb(path, PixelRule.from_config(pair.pixels))
        except ImageError as error:
            remedy = "" if isinstance(error, RefusedImageError) else f" {_REMEDY}"
            raise MissingResourceError(f"image {path} of sample {pair.sample_id}: {error}.{remedy}") from error
        mask = self._mask(pair)
        height, width = image.shape[:2]
        if not sizes_agree((mask.shape[0], mask.shape[1]), (height, width)):
            raise MissingResourceError(
                f"mask of sample {pair.sample_id} is {mask.shape[1]}x{mask.shape[0]} but its image {path} is "
                f"{width}x{height}. {_REMEDY}"
            )
        return image, mask


def why_not_permuted(pairs: Sequence[Pair]) -> str | None:
    """Say why the language control of a split cannot be made; None if it can.

    Every sample needs the expression of another photograph or category. If more than half of the samples are of one
    photograph and category, the others have too few expressions for them; else there are always enough.

    Args:
        pairs: all pairs of the split.
    """
    (image, category), most = Counter((pair.image_id, pair.category) for pair in pairs).most_common(1)[0]
    if 2 * most <= len(pairs):
        return None
    named = f"'{image}'" + (f" and of the category '{category}'" if category else "")
    return (
        f"{most} of {len(pairs)} samples are of the photograph {named}; where these are more than half, not every "
        "sample can get the expression of another photograph or category"
    )


def permuted(dataset: ReferringDataset, seed: int) -> ReferringDataset:
    """The language control: the same pictures and truths, each with the expression of another sample.

    Every sample gets the expression of another image or another category; an expression is never right by accident.
    Unknown categories count as equal.

    Args:
        dataset: the split to permute.
        seed: of the permutation.

    Raises:
        UserError: there is no such permutation; see `why_not_permuted`.
    """
    pairs = list(dataset.manifest)
    if (reason := why_not_permuted(pairs)) is not None:
        raise UserError(f"expressions of {dataset.manifest.path} cannot be permuted: {reason}.")
    names = np.array([f"{pair.image_id}\0{pair.category}" for pair in pairs])
    codes = np.unique(names, return_inverse=True)[1].ravel()
    shuffled = copy(dataset)
    shuffled.text_from = _order_without_clashes(codes, np.random.default_rng((seed, 0x7065726D)))
    return shuffled


def _order_without_clashes(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a permutation of (N,) codes that leaves no code where it was; no code may have more than half of them."""
    order = rng.permutation(len(codes))
    for _ in range(1000):
        clashes = np.flatnonzero(codes[order] == codes)
        if clashes.size == 0:
            return order.astype(np.int64)
        for place in clashes:
            other = int(rng.integers(len(order)))
            order[place], order[other] = order[other], order[place]
    # Exchanges at random hardly ever find one of the few permutations of a code that has (almost) half of the places.
    # Turning the sorted codes by the number of the commonest code moves every code off its own places.
    mixed = rng.permutation(len(codes))
    placed = mixed[np.argsort(codes[mixed], kind="stable")]
    order[placed] = np.roll(placed, -np.bincount(codes).max())
    return order.astype(np.int64)
