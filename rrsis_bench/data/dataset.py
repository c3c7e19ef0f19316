"""A split as a sequence of samples, ready for a method's InputSpec.

Random draws depend on (seed, epoch, index) alone, not on the number of workers or on which of them loads a sample.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from rrsis_bench.data import masks
from rrsis_bench.data.cache import ImageCache, Resized
from rrsis_bench.data.manifest import Manifest, Pair
from rrsis_bench.data.perturb.table import Choice
from rrsis_bench.data.pixels import ImageError, PixelRule, RefusedImageError, read_rgb
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import Augment, Augmenter, normalise, resize_image
from rrsis_bench.data.verify import sizes_agree
from rrsis_bench.errors import MissingResourceError, UsageError, UserError
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
        image_key: equal for equal images of a split; "" for an image of training, or of no split.
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
        per_image: bool = False,
        cache: ImageCache | None = None,
    ) -> None:
        """Load the tokenizer; images and masks are read sample by sample.

        Args:
            manifest: the pairs of the split.
            root: data root.
            spec: what the method wants to be fed.
            training: augment, and leave the native truth out.
            augment: augmentations, used in training only; None for none.
            seed: of all random draws.
            per_image: in training, draw augmentations for each image and epoch, not for each sample: the samples of
                an image show the same. A sample that cannot be mirrored shows it as it is.
            cache: keeps resized images; None to read every image from its file.
        """
        self.manifest = self.texts = manifest
        self.root = Path(root)
        self.spec = spec
        self.training, self.per_image = training, per_image
        self.cache = cache
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
        self.perturbation: Choice | None = None

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

    @cached_property
    def images(self) -> NDArray[np.int64]:
        """(N,) the position of the first sample that shows the image of each sample."""
        first: dict[tuple[str, str], int] = {}
        return np.array([first.setdefault(pair.shown, at) for at, pair in enumerate(self.manifest)], np.int64)

    def pair(self, index: int) -> Pair:
        """The pair at a position, with its perturbed expression, or another sample's where expressions are permuted."""
        pair = self.manifest[index]
        if self.text_from is not None:
            pair = replace(pair, text=self.texts[int(self.text_from[index])].text)
        if self.perturbation is None:
            return pair
        text = self.perturbation.text(pair.text, pair.sample_id, self.seed)
        if text is None:  # `perturbed` leaves these samples out
            raise UserError(f"the expression of sample {pair.sample_id} has no form for {self.perturbation.label}.")
        return replace(pair, text=text)

    def sample(self, index: int) -> Sample:
        """The pair as the data set gives it.

        Raises:
            MissingResourceError: image missing or unreadable, or mask undecodable or of another size than the image.
        """
        index = self._place(index)
        pair = self.pair(index)
        image = self._image(pair)
        mask = self._mask(pair, (image.shape[0], image.shape[1]))
        if self.perturbation is not None:
            image, mask = self.perturbation.image(image, pair.shown, self.seed), self.perturbation.mask(mask)
        return Sample(index, pair.sample_id, pair.image_id, image, mask, pair.text, pair.category)

    def __getitem__(self, index: int) -> Item:
        """The sample as the method wants it. Raises as `sample`."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The samples of a batch. Each different image is decoded, resized and normalised once.

        Items that show the same image hold the same array. In training without `per_image`, each has its own.
        """
        decoded: dict[tuple[str, str], NDArray[np.uint8]] = {}
        resized: dict[tuple[str, str], Resized] = {}
        inputs: dict[object, NDArray[np.float32]] = {}
        return [self._item(self._place(index), decoded, resized, inputs) for index in indices]

    def _item(
        self,
        index: int,
        decoded: dict[tuple[str, str], NDArray[np.uint8]],
        resized: dict[tuple[str, str], Resized],
        inputs: dict[object, NDArray[np.float32]],
    ) -> Item:
        pair = self.pair(index)
        text, shown, drawn = pair.text, cast(object, pair.shown), None
        if self.training:
            drawn_for = int(self.images[index]) if self.per_image else index
            rng = np.random.default_rng((self.seed, self.epoch, drawn_for))
            drawn = self._augmenter.draw(text, drawn_for in self._boxed, rng)
            text, shown = drawn.text, (drawn_for, drawn.mirrored)
        small = None
        if not self.spec.reads_image:
            mask = self._mask(pair)
            image = np.zeros((*mask.shape, 3), np.uint8)
        elif self.cache is not None and self.perturbation is None and (drawn is None or drawn.leaves_pixels):
            if pair.shown not in resized:
                resized[pair.shown] = self.cache.resized(pair.image, pair.pixels, partial(self._image, pair))
            small = resized[pair.shown]
            image, mask = small.pixels, self._mask(pair, small.native)
        else:
            if pair.shown not in decoded:
                decoded[pair.shown] = self._image(pair)
            image = decoded[pair.shown]
            mask = self._mask(pair, (image.shape[0], image.shape[1]))
        if drawn is not None:
            image, mask = self._augmenter.apply(drawn, image, mask)
        elif self.perturbation is not None:
            mask = self.perturbation.mask(mask)
            if shown not in inputs and self.spec.reads_image:
                image = self.perturbation.image(image, pair.shown, self.seed)
        if shown not in inputs:
            inputs[shown] = self._input(image) if small is None else normalise(small.pixels, self.spec)
        return Item(
            index=index,
            sample_id=pair.sample_id,
            image_id=pair.image_id,
            image=inputs[shown],
            mask=resize_mask(mask, self.spec.image_size),
            truth=None if self.training else mask,
            tokens=self.tokens(text),
            text=text,
            category=pair.category,
            image_key="" if self.training else "\0".join(pair.shown),
        )

    def _place(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return index % len(self)

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

    def _image(self, pair: Pair) -> NDArray[np.uint8]:
        path = self.root / pair.image
        try:
            return read_rgb(path, PixelRule.from_config(pair.pixels))
        except ImageError as error:
            remedy = "" if isinstance(error, RefusedImageError) else f" {_REMEDY}"
            raise MissingResourceError(f"image {path} of sample {pair.sample_id}: {error}.{remedy}") from error

    def _mask(self, pair: Pair, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The mask of a pair; its size must be the (height, width) of its image, if the image was read."""
        try:
            mask = masks.decode(pair.rle)
        except masks.MaskError as error:
            raise MissingResourceError(
                f"mask of sample {pair.sample_id} in {self.manifest.path}: {error}. {_REMEDY}"
            ) from error
        if size is not None and not sizes_agree((mask.shape[0], mask.shape[1]), size):
            raise MissingResourceError(
                f"mask of sample {pair.sample_id} is {mask.shape[1]}x{mask.shape[0]} but its image "
                f"{self.root / pair.image} is {size[1]}x{size[0]}. {_REMEDY}"
            )
        return mask


def perturbed(dataset: ReferringDataset, choice: Choice) -> tuple[ReferringDataset, int, int]:
    """A split with perturbed images and expressions; samples whose expression cannot be turned are left out.

    Args:
        dataset: the split, not in training.
        choice: the perturbation.

    Returns:
        the split, the number of samples that it leaves out, and that of samples that the perturbation does not change.

    Raises:
        UserError: no sample is left.
        UsageError: the expressions of the split are permuted.
    """
    if dataset.text_from is not None:  # a permutation counts positions of the whole split
        raise UsageError("a run with data.permute_expressions is not scored perturbed; leave one of the two out.")
    texts = [choice.text(pair.text, pair.sample_id, dataset.seed) for pair in dataset.manifest]
    kept = [place for place, text in enumerate(texts) if text is not None]
    if not kept:
        raise UserError(f"no expression of {dataset.manifest.path} has a form for {choice.label}: nothing to score.")
    same = sum(text == pair.text for text, pair in zip(texts, dataset.manifest, strict=True))
    changed = copy(dataset)
    changed.manifest = dataset.manifest.take(kept)
    changed.__dict__.pop("images", None)  # the positions of the whole split
    changed.perturbation = choice
    return changed, len(texts) - len(kept), same if choice.of.kind == "words" else 0
