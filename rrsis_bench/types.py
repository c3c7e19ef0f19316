"""The few objects that data, methods, metrics and engine exchange.

Shape legend: `B` samples of a batch, `U` its images, `L` tokens, `H W` pixels of the method's input, `h w` pixels of
its logits. `Hn Wn` is the largest native mask size of a batch.

This module imports no torch at run time, because modules without torch name these types too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from rrsis_bench.errors import UsageError, WithheldError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

Interpolation = Literal["pil-bilinear", "pil-bicubic", "cv2-linear", "cv2-cubic"]
"""How an image is resized. PIL's filters antialias, OpenCV's do not. Published numbers depend on the filter."""


@dataclass(frozen=True)
class InputSpec:
    """The form in which a method takes images and expressions. The shared transforms and tokenizers follow it.

    Attributes:
        image_size: (height, width) in pixels of the input; images are squashed to it (aspect ratio not kept).
        mean: per-channel mean subtracted after scaling, RGB.
        std: per-channel divisor after the mean, RGB.
        scale: factor applied to 8-bit values before mean and std.
        interpolation: image filter. Masks always resize with exact nearest.
        tokenizer: registered tokenizer name (`bert`, `clip`, `tiny`) or `module:Class` (see `data/text.py`).
        max_tokens: length L of the padded token sequence, special tokens included.
        tokenizer_path: folder or file of the vocabulary where the tokenizer needs one; None for its default.
        reads_image: False for a method that ignores images: the suite opens no image file, and `Batch.images` is zero.
        tokenizer_options: further settings of a method's own tokenizer.
    """

    image_size: tuple[int, int]
    tokenizer: str
    max_tokens: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1.0 / 255.0
    interpolation: Interpolation = "pil-bilinear"
    tokenizer_path: str | None = None
    reads_image: bool = True
    tokenizer_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse sizes that no image and no expression can have.

        Raises:
            UsageError: names the size.
        """
        for name, sizes in (("image_size", self.image_size), ("max_tokens", (self.max_tokens,))):
            if min(sizes) < 1:
                shown = "x".join(map(str, sizes))
                raise UsageError(f"model.options: the input's {name} must be at least 1, not {shown}.")


@dataclass(frozen=True)
class Sample:
    """One image-expression pair of a data set, before the transforms of a method.

    Attributes:
        index: position in the split; identifies the sample within a run.
        sample_id: unique within the data set.
        image_id: id of the photograph. Its samples share it, and bootstraps resample by it.
        image: (Hn, Wn, 3) uint8 RGB.
        mask: (Hm, Wm) uint8 in {0, 1}, native size (usually that of the image).
        text: the expression.
        category: class name, or "" where the data set has none.
    """

    index: int
    sample_id: str
    image_id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    text: str
    category: str


@dataclass(frozen=True)
class Tokenized:
    """One expression as token ids, as a tokenizer returns it.

    Attributes:
        ids: L token ids, padded.
        mask: L flags, 1 for real tokens (start and end included), 0 for padding.
        truncated: whether the tokenizer cut words off.
        parts: further lists of L flags by name.
        spans: (start, end) positions in the text of each id's characters, (0, 0) for an id without characters; empty
            if the tokenizer does not know the positions.
    """

    ids: list[int]
    mask: list[int]
    truncated: bool
    parts: dict[str, list[int]] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class TextTokens:
    """Token ids of a batch of expressions.

    Attributes:
        ids: (B, L) int64, padded.
        mask: (B, L) bool, True for real tokens (start and end tokens included), False for padding.
        parts: further (B, L) masks of a method's own tokenizer by name, such as the words of the referent.
    """

    ids: Tensor
    mask: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Withheld:
    """Takes the place of a field that a blind batch withholds. Every use but moving it raises `WithheldError`.

    Args:
        field: name of the field, for the message.
    """

    field = ""  # `copy` and `pickle` look for methods before an instance has its own

    def __init__(self, field: str) -> None:
        self.field = field

    def _refuse(self, *_: object) -> NoReturn:
        raise WithheldError(
            f"batch.{self.field} is withheld in scoring and prediction: a method reads the truth in its loss, in "
            "`calibrate` and in the forward pass of training only."
        )

    # An AttributeError is what `hasattr`, `copy` and `torch.compile` expect of an object without the attribute.
    __getattr__ = __getitem__ = __len__ = __iter__ = __bool__ = __contains__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __and__ = __or__ = __invert__ = __neg__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __eq__ = __ne__ = _refuse  # type: ignore[assignment]
    __hash__ = object.__hash__

    def to(self, *_: object, **__: object) -> Withheld:
        """The same object, which is on no device."""
        return self

    def pin_memory(self) -> Withheld:
        """The same object, which is in no memory of a device."""
        return self


@dataclass(frozen=True)
class Batch:
    """What the suite gives a method: all of it in training, the blind batch in scoring and prediction.

    Attributes:
        images: (U, 3, H, W) float32, normalised by the method's InputSpec. A method with `shares_images` gets each
            different image once; any other method gets one image per sample, U = B.
        masks: (B, H, W) uint8 in {0, 1}: the truth at input size, exact nearest, for the loss.
        tokens: the expressions' tokens.
        texts: the expressions.
        categories: class names of the referents ("" where unknown), which are part of the annotation.
        sample_ids: ids of the samples.
        image_ids: ids of the photographs.
        indices: (B,) int64 positions in the split.
        truths: (B, Hn, Wn) uint8 native truth masks, zero-padded right and bottom, for the suite; None while training.
        sizes: native (height, width) of each truth, for the suite; empty while training.
        image_of: (B,) int64, the row of `images` that each sample sees. None: sample k sees row k, and U = B.
        image_keys: names of the U images, equal for equal images of a split; empty where the suite knows none.
        encoded: what the method's `encode_images` returned for `images`; empty if `forward` is to compute it.
    """

    WITHHELD: ClassVar[tuple[str, ...]] = ("masks", "categories", "truths", "sizes")
    """The fields that `blind` withholds: the truth, and what the annotation says of the referent."""

    images: Tensor
    masks: Tensor
    tokens: TextTokens
    texts: tuple[str, ...]
    categories: tuple[str, ...]
    sample_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    indices: Tensor
    truths: Tensor | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    image_of: Tensor | None = None
    image_keys: tuple[str, ...] = ()
    encoded: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        """The number of samples B."""
        return len(self.texts)

    def per_sample(self, values: Tensor) -> Tensor:
        """Repeat values (U, ...) of the images for their samples: (B, ...)."""
        return values if self.image_of is None else values.index_select(0, self.image_of)

    def expanded(self) -> Batch:
        """The batch with one image per sample, as a method without `shares_images` gets it."""
        return replace(self, images=self.per_sample(self.images), image_of=None, image_keys=(), encoded=())

    def blind(self) -> Batch:
        """The batch for scoring and prediction: whoever uses a field of `WITHHELD` gets a `WithheldError`."""
        return replace(self, **{field: Withheld(field) for field in self.WITHHELD})  # type: ignore[arg-type]

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to each of its tensors."""
        tokens = TextTokens(
            function(self.tokens.ids),
            function(self.tokens.mask),
            {name: function(part) for name, part in self.tokens.parts.items()},
        )
        return replace(
            self,
            images=function(self.images),
            masks=function(self.masks),
            tokens=tokens,
            indices=function(self.indices),
            truths=None if self.truths is None else function(self.truths),
            image_of=None if self.image_of is None else function(self.image_of),
        )

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch on another device; Lightning calls this."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the DataLoader calls this."""
        return self.mapped(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class MethodOutput:
    """What a method returns.

    Attributes:
        logits: (B, 1, h, w) foreground logits, floating-point; two-class heads give foreground minus background.
        aux: what the method's own loss needs besides. The suite logs the scalars by name under `watched` beside the
            losses in training, and leaves them out of the sum. Every step names the same ones.
    """

    logits: Tensor
    aux: Mapping[str, Any] = field(default_factory=dict)
