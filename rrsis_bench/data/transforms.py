"""Resizing by a method's InputSpec, and the augmentations. Only this file imports albumentations."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rrsis_bench.data.mirror import flip_text
from rrsis_bench.errors import UsageError, did_you_mean
from rrsis_bench.types import InputSpec

_PIL = {"pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}
_CV2 = {"cv2-linear": cv2.INTER_LINEAR, "cv2-cubic": cv2.INTER_CUBIC}

RECIPES: Mapping[str, Mapping[str, float]] = {"none": {}, "paper": {"boxes": 0.2}}
"""`paper`: black boxes on a fixed fifth of the training references, as RMSIN and FIANet do on RRSIS-D."""


def resize_image(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Squash an image (Hn, Wn, 3) to the method's (H, W, 3) with the filter its numbers depend on.

    Raises:
        UsageError: an unknown interpolation.
    """
    height, width = spec.image_size
    if image.shape[:2] == (height, width):
        return image
    if spec.interpolation in _PIL:
        return np.asarray(Image.fromarray(image).resize((width, height), _PIL[spec.interpolation]))
    if spec.interpolation in _CV2:
        resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=_CV2[spec.interpolation])
        return resized
    known = [*_PIL, *_CV2]
    raise UsageError(f"unknown interpolation '{spec.interpolation}'.{did_you_mean(spec.interpolation, known)}")


def normalise(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """(H, W, 3) uint8 to (3, H, W) float32: `(value * scale - mean) / std`, looked up in a table of 256 values."""
    table = _table(spec.mean, spec.std, spec.scale)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, plane in enumerate(cv2.split(image)):
        cv2.LUT(plane, table[channel], planes[channel])
    return planes


@lru_cache(maxsize=16)
def _table(mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> NDArray[np.float32]:
    values = np.arange(256, dtype=np.float64) * scale
    table: NDArray[np.float32] = ((values - np.array(mean)[:, None]) / np.array(std)[:, None]).astype(np.float32)
    return table


@dataclass(frozen=True)
class Augment:
    """Augmentations of training samples; none by default.

    Attributes:
        flip: probability of mirroring; left and right, west and east in the expression change places too. A sample
            whose expression has no sure mirrored form (see `data.mirror`) is never mirrored.
        boxes: share of the references (drawn once from the seed) that get black boxes on every visit.
        jitter: probability of colour jitter.
    """

    flip: float = 0.0
    boxes: float = 0.0
    jitter: float = 0.0

    @classmethod
    def from_config(cls, values: Mapping[str, Any] | None) -> Augment:
        """From a configuration: `recipe` (`none`, `paper`) and single shares that override it.

        Raises:
            UsageError: an unknown key or recipe, or a share outside 0..1.
        """
        given = dict(values or {})
        recipe = given.pop("recipe", None) or "none"
        if recipe not in RECIPES:
            raise UsageError(f"unknown augmentation recipe '{recipe}'.{did_you_mean(str(recipe), list(RECIPES))}")
        known = [field.name for field in fields(cls)]
        for key, share in given.items():
            if key not in known:
                raise UsageError(f"unknown augmentation '{key}'.{did_you_mean(key, [*known, 'recipe'])}")
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise UsageError(f"augmentation '{key}' must be a share between 0 and 1, not {share!r}.")
        return replace(cls(**RECIPES[recipe]), **given)


def albumentation(name: str, **settings: Any) -> Any:
    """A transform of albumentations that is always applied; `set_random_seed` and a call with `image=` use it.

    Args:
        name: its class.
        settings: its arguments.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with warnings.catch_warnings():
        # albumentations only warns of an argument it does not know, and then does something else.
        warnings.filterwarnings("error", message=r".*(not valid for transform|[Ii]nvalid argument).*")
        import albumentations as A

        return A.Compose([getattr(A, name)(**settings, p=1.0)])


@dataclass(frozen=True)
class Drawn:
    """What is done to one sample on one visit.

    Attributes:
        text: the expression, rewritten where the image is mirrored.
        mirrored: mirror image and mask.
        boxes: seed of the black boxes; None for none.
        jitter: seed of the colour jitter; None for none.
    """

    text: str
    mirrored: bool
    boxes: int | None
    jitter: int | None

    @property
    def leaves_pixels(self) -> bool:
        """Whether image and mask stay as they are."""
        return not self.mirrored and self.boxes is None and self.jitter is None


class Augmenter:
    """Applies augmentations. All random draws come from the generator passed in, none from global state."""

    def __init__(self, augment: Augment) -> None:
        """Keep the settings; albumentations is imported at the first use, in the worker that needs it."""
        self.augment = augment

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], text: str, boxed: bool, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
        """One augmented sample.

        Args:
            image: (Hn, Wn, 3) uint8.
            mask: (Hm, Wm) uint8.
            text: the expression.
            boxed: whether this reference is among those that get boxes.
            rng: the sample's own generator.

        Returns:
            image, mask and expression. The inputs are not changed.
        """
        drawn = self.draw(text, boxed, rng)
        return *self.apply(drawn, image, mask), drawn.text

    def draw(self, text: str, boxed: bool, rng: np.random.Generator) -> Drawn:
        """Draw what is done to a sample; the arguments are those of a call."""
        # Always the same draws in the same order: switching one augmentation leaves the others as they were.
        flips, jitters = rng.random(2)
        seeds = [int(seed) for seed in rng.integers(0, 2**31, 2)]
        mirrored = flip_text(text) if flips < self.augment.flip else None
        return Drawn(
            text if mirrored is None else mirrored,
            mirrored is not None,
            seeds[0] if boxed else None,
            seeds[1] if jitters < self.augment.jitter else None,
        )

    def apply(
        self, drawn: Drawn, image: NDArray[np.uint8], mask: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The image (Hn, Wn, 3) and the mask (Hm, Wm) with what was drawn; the inputs are not changed."""
        if drawn.mirrored:
            image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
        if drawn.boxes is not None:
            image = self._apply("boxes", image, drawn.boxes)
        if drawn.jitter is not None:
            image = self._apply("jitter", image, drawn.jitter)
        return image, mask

    def _apply(self, name: str, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        transform = self._transforms[name]
        transform.set_random_seed(seed)
        done: NDArray[np.uint8] = transform(image=image)["image"]
        return done

    @cached_property
    def _transforms(self) -> dict[str, Any]:
        boxes = {"num_holes_range": (20, 60), "hole_height_range": (32, 32), "hole_width_range": (32, 32), "fill": 0}
        jitter = {"brightness": (0.8, 1.2), "contrast": (0.8, 1.2), "saturation": (0.8, 1.2), "hue": (-0.05, 0.05)}
        return {"boxes": albumentation("CoarseDropout", **boxes), "jitter": albumentation("ColorJitter", **jitter)}

    def __getstate__(self) -> dict[str, Any]:
        return {"augment": self.augment}
