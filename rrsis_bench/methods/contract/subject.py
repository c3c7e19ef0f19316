"""What the checks share: the method under test, noise to feed it, and how it is run.

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
from rrsis_bench.data.text import load_tokenizer
from rrsis_bench.data.transforms import normalise
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, InputSpec

TEXTS = ("the red ship", "a white airplane on the left", "the largest storage tank", "the bridge")
LEARNING_RATE = 1e-3
TOLERANCE = 1e-4

Outcome = tuple[bool, str]
"""Whether a check passed, and the figures behind it."""


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes:
        build: makes it afresh with random weights.
        no_gradient: glob patterns of trainable parameters that may go without a gradient.
        published: variant -> (number of parameters published, builder of that variant for the meta device).
    """

    build: Callable[[], Method]
    no_gradient: Sequence[str] = ()
    published: Mapping[str, tuple[int, Callable[[], Method]]] = field(default_factory=dict)

    def seeded(self, seed: int = 0) -> Method:
        """A network whose trainable parameters are off their starting point.

        Zero-initialised projections would hide what lies behind them from every check.
        """
        with seeds(seed):
            method = self.build()
            with torch.no_grad():
                for parameter in trainable(method.parameters()):
                    parameter.add_(torch.randn_like(parameter), alpha=0.02)
        return method


@contextmanager
def seeds(seed: int) -> Iterator[None]:
    """A fixed random state inside, the caller's own afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def random_batch(spec: InputSpec, texts: Sequence[str] = TEXTS, seed: int = 0) -> Batch:
    """Noise images with a darker rectangle each as the truth, by the suite's own transforms and tokenizer.

    Args:
        spec: the method's input.
        texts: B expressions.
        seed: of images and rectangles.
    """
    rng = np.random.default_rng(seed)
    tokenizer = load_tokenizer(spec)
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
    """Logits (B, 1, h, w) in float32 as scoring gets them: in evaluation mode, from a blind batch."""
    method.eval()
    with torch.no_grad():
        logits: Tensor = method(batch.blind()).logits.float()
    return logits


def total_loss(method: Method, batch: Batch) -> Tensor:
    """The sum of the method's losses on a batch, in the mode it is in."""
    return torch.stack(list(method.loss(method(batch), batch).values())).sum()


def backward(method: Method, loss: Tensor) -> None:
    """Gradients of a loss. A method without trainable parameters has none: it learns in its forward pass."""
    if trainable(method.parameters()):
        torch.autograd.backward(loss)


def gap(first: Tensor, second: Tensor) -> tuple[float, bool]:
    """Largest difference, and whether it is within the tolerance of the logits' spread."""
    if first.shape != second.shape:
        return float("inf"), False
    largest = float((first - second).abs().max())
    return largest, largest <= TOLERANCE * max(1.0, float(first.abs().max()))
