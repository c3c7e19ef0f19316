"""Shared by all checks: the method under test, random batches, and functions that run the method.

Shape legend: `B` batch, `L` tokens, `h w` pixels of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rrsis_bench.data.collate import collate
from rrsis_bench.data.dataset import Item
from rrsis_bench.data.text import Tokenizer, load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, InputSpec

TEXTS = ("the red ship", "a white airplane on the left", "the largest storage tank", "the bridge")
LEARNING_RATE = 1e-3
TOLERANCE = 1e-4

Outcome = tuple[bool, str]
"""What a check returns: whether the method passed, and the measured figures in words."""


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes:
        build: builds a new instance with random weights.
        no_gradient: glob patterns of trainable parameters that need not get a gradient.
        published: variant -> (published number of parameters, function that builds the variant on the meta device).
        large: variant -> function that builds the variant, for variants of the published size.
        name: registry name; None for a class that is not registered, whose card and configuration are not checked.
        variant: name of the variant that `build` builds.
        waits: why a library's code makes the host wait for a GPU; empty for a method that never waits.
    """

    build: Callable[[], Method]
    no_gradient: Sequence[str] = ()
    published: Mapping[str, tuple[int, Callable[[], Method]]] = field(default_factory=dict)
    large: Mapping[str, Callable[[], Method]] = field(default_factory=dict)
    name: str | None = None
    variant: str = "tiny"
    waits: str = ""

    def seeded(self, seed: int = 0) -> Method:
        """Build an instance, and add noise to its trainable parameters.

        Without noise, a projection that starts at zero would hide the layers behind it from every check.
        """
        with seeds(seed):
            method = self.build()
            with torch.no_grad():
                for parameter in trainable(method.parameters()):
                    parameter.add_(torch.randn_like(parameter), alpha=0.02)
        return method


@contextmanager
def seeds(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator while a block runs, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def random_batch(
    spec: InputSpec, texts: Sequence[str] = TEXTS, seed: int = 0, tokenizer: Tokenizer | None = None
) -> Batch:
    """Make a batch of noise images. The truth of each image is a darker rectangle in it.

    Args:
        spec: the method's input.
        texts: B expressions.
        seed: seed of images and rectangles.
        tokenizer: None for the one that the input names.
    """
    rng = np.random.default_rng(seed)
    tokenizer = tokenizer or load_tokenizer(spec)
    height, width = spec.image_size
    items = []
    for index, text in enumerate(texts):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[top : top + height // 3, left : left + width // 3] = 1
        image[mask > 0] //= 3  # something to learn
        items.append(Item(index, str(index), str(index), normalise(image, spec), mask, None, tokenizer(text), text, ""))
    return collate(items)


def score(method: Method, batch: Batch) -> Tensor:
    """Logits (B, 1, h, w) in float32, made as in scoring: in evaluation mode, from a blind batch."""
    method.eval()
    with torch.no_grad():
        logits: Tensor = method(batch.blind()).logits.float()
    return logits


def total_loss(method: Method, batch: Batch) -> Tensor:
    """The sum of the method's losses on a batch; the method's mode stays as it is."""
    return torch.stack(list(method.loss(method(batch), batch).values())).sum()


def backward(method: Method, loss: Tensor) -> None:
    """Compute the gradients of a loss, unless the method has no trainable parameters."""
    if trainable(method.parameters()):
        torch.autograd.backward(loss)


def gap(first: Tensor, second: Tensor) -> tuple[float, bool]:
    """Largest absolute difference of two tensors, and whether `TOLERANCE` allows it (relative to values above 1)."""
    if first.shape != second.shape:
        return float("inf"), False
    largest = float((first - second).abs().max())
    return largest, largest <= TOLERANCE * max(1.0, float(first.abs().max()))
