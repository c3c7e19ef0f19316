"""A small method with all that is difficult for the engine: a frozen encoder, BatchNorm, dropout, an unequal layer."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import freeze
from rrsis_bench.types import Batch, InputSpec, MethodOutput, TextTokens

NAME = "toy"
TARGET = "helpers.toy:Toy"


@dataclass(frozen=True)
class Options:
    """Options of the toy."""

    dim: int = 8
    dropout: float = 0.1
    frozen_seed: int = 5
    bad_step: int = -1


class Toy(Method):
    """Frozen convolution, adapter with BatchNorm and dropout, text by an embedding's mean."""

    name = NAME
    Options = Options

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_spec = InputSpec(image_size=(32, 32), tokenizer="tiny", max_tokens=16)
        self.encoder = nn.Sequential(nn.Conv2d(3, options.dim, 4, stride=4), nn.BatchNorm2d(options.dim), nn.ReLU())
        freeze(self.encoder)
        self.adapter = nn.Sequential(nn.Conv2d(options.dim, options.dim, 3, padding=1), nn.BatchNorm2d(options.dim))
        self.words = nn.Embedding(512, options.dim)
        self.head = nn.Conv2d(options.dim, 1, 1)
        self.calls = 0

    def train(self, mode: bool = True) -> Toy:
        super().train(mode)
        self.encoder.eval()
        return self

    def load_pretrained(self) -> dict[str, str]:
        draw = torch.Generator().manual_seed(self.options.frozen_seed)
        drawn = {key: torch.randn(value.shape, generator=draw) * 0.3 for key, value in self.encoder.named_parameters()}
        self.encoder.load_state_dict({**{key: value.clone() for key, value in self.encoder.named_buffers()}, **drawn})
        return {"encoder": f"{self.options.frozen_seed:064d}"}

    def encoders(self) -> dict[str, nn.Module]:
        return {"visual": self.encoder}

    def _obey(self) -> None:
        # The process sends itself a signal at an exact training step, so that a test of it does not depend on timing.
        asked = signal.Signals[os.environ.get("TOY_SIGNAL", "SIGINT")]
        for variable, number in (("TOY_KILL_AT", signal.SIGKILL), ("TOY_INTERRUPT_AT", asked)):
            if os.environ.get(variable) == str(self.calls):
                os.kill(os.getpid(), number)

    def forward(self, batch: Batch) -> MethodOutput:
        mask = batch.tokens.mask.unsqueeze(-1).float()
        text = (self.words(batch.tokens.ids % 512) * mask).sum(1) / mask.sum(1).clamp(min=1)
        features = F.dropout(self.adapter(self.encoder(batch.images)), self.options.dropout, self.training)
        return MethodOutput(self.head(F.relu(features + text[:, :, None, None])))

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        logits = F.interpolate(output.logits, size=batch.masks.shape[-2:], mode="bilinear", align_corners=False)
        losses = {"bce": F.binary_cross_entropy_with_logits(logits[:, 0], batch.masks.float())}
        if self.training:
            if self.calls == self.options.bad_step:
                losses["bce"] = losses["bce"] * float("nan")
            self._obey()
            self.calls += 1
        return losses


def random_batch(n: int = 4, seed: int = 0, native: tuple[int, int] = (40, 48)) -> Batch:
    """A batch of noise images, with the same rectangle as the truth of each."""
    draw = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, 32, 32, dtype=torch.uint8)
    masks[:, 8:20, 4:16] = 1
    truths = torch.zeros(n, *native, dtype=torch.uint8)
    truths[:, 10:25, 6:24] = 1
    return Batch(
        images=torch.randn(n, 3, 32, 32, generator=draw),
        masks=masks,
        tokens=TextTokens(torch.randint(4, 100, (n, 16), generator=draw), torch.ones(n, 16, dtype=torch.bool)),
        texts=tuple(f"thing {i}" for i in range(n)),
        categories=("thing",) * n,
        sample_ids=tuple(f"s{seed}-{i}" for i in range(n)),
        image_ids=tuple(f"i{seed}-{i}" for i in range(n)),
        indices=torch.arange(n) + n * seed,
        truths=truths,
        sizes=(native,) * n,
    )


def task_arguments(**changes: Any) -> Mapping[str, Any]:
    """Arguments of the LightningModule for the toy."""
    return {"method": NAME, "variant": "tiny", "options": {"dim": 8}, **changes}
