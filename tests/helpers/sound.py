"""The smallest methods that keep the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.types import Batch, InputSpec, MethodOutput


@dataclass(frozen=True)
class Options:
    width: int = 8


class Sound(Method):
    """The smallest network that keeps the contract."""

    name: ClassVar[str] = "sound"
    Options: ClassVar[type[Any]] = Options

    def __init__(self, options: Options | None = None) -> None:
        super().__init__()
        width = (options or Options()).width
        self.input_spec = InputSpec(image_size=(32, 32), tokenizer="tiny", max_tokens=16)
        self.stem = nn.Conv2d(3, width, 3, stride=4, padding=1)
        freeze(self.stem)
        self.norm = nn.BatchNorm2d(width)
        self.words = nn.Embedding(512, width)
        self.mix = nn.Conv2d(width, width, 1)
        self.head = nn.Conv2d(width, 1, 1)

    def sentence(self, batch: Batch) -> Tensor:
        weights = batch.tokens.mask[..., None].float()
        return (self.words(batch.tokens.ids) * weights).sum(1) / weights.sum(1)

    def forward(self, batch: Batch) -> MethodOutput:
        features = functional.gelu(self.mix(self.norm(self.stem(batch.images))))
        return MethodOutput(self.head(features * (1 + self.sentence(batch)[..., None, None])))

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        groups = super().param_groups(base_lr, weight_decay)
        return [{**group, "lr": 30 * base_lr} for group in groups]

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        target = functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:])
        return {"bce": functional.binary_cross_entropy_with_logits(output.logits.float(), target)}


class Counts(Method):
    """A method without parameters: it learns the mean mask as BatchNorm learns a mean."""

    name: ClassVar[str] = "counts"
    Options: ClassVar[type[Any]] = Options

    def __init__(self) -> None:
        super().__init__()
        self.input_spec = InputSpec(image_size=(32, 32), tokenizer="tiny", max_tokens=16)
        self.register_buffer("total", torch.full((8, 8), 0.5))
        self.register_buffer("seen", torch.ones(()))

    def forward(self, batch: Batch) -> MethodOutput:
        size = (batch.images.shape[-2] // 4, batch.images.shape[-1] // 4)
        logits = torch.logit(self.total / self.seen, 1e-4).expand(len(batch), 1, -1, -1)
        if self.training:
            self.total += functional.adaptive_avg_pool2d(batch.masks.float(), 8).sum(0)
            self.seen += len(batch)
        return MethodOutput(functional.interpolate(logits, size=size))

    loss = Sound.loss


class Shares(Sound):
    """A sound method that encodes each image of a batch once."""

    shares_images: ClassVar[bool] = True

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        return (functional.gelu(self.mix(self.norm(self.stem(images)))),)

    def spread(self, features: Tensor, batch: Batch) -> Tensor:
        return batch.per_sample(features)

    def forward(self, batch: Batch) -> MethodOutput:
        features = self.spread(self.encoded(batch)[0], batch)
        return MethodOutput(self.head(features * (1 + self.sentence(batch)[..., None, None])))


class CountsImages(Shares):
    """Counts the images that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        self.images += len(images)
        return super().encode_images(images)


class Biased(Sound):
    """A sound method whose logits start on the side of one class, as for a focal loss."""

    start = -4.6

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.head.bias, self.start)


class BiasedHigh(Biased):
    start = 4.6
