"""Methods that break the contract in their network or their logits, each in one way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from helpers.sound import Counts, Shares, Sound
from rrsis_bench.methods.base import Method
from rrsis_bench.types import Batch, MethodOutput


class DoesNotBuild(Sound):
    def __init__(self) -> None:
        raise ValueError("no such encoder")


class TwoChannels(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.expand(-1, 2, -1, -1))


class OneSizeOnly(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(functional.interpolate(super().forward(batch).logits, (8, 8)))


class SeesItsNeighbours(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits
        return MethodOutput(logits + torch.linspace(0, 1, len(batch))[:, None, None, None])


class ReadsPadding(Sound):
    def sentence(self, batch: Batch) -> Tensor:
        return self.words(batch.tokens.ids).mean(1)


class NeedsWords(Sound):
    def sentence(self, batch: Batch) -> Tensor:
        inner = (batch.tokens.mask & (batch.tokens.ids > 2))[..., None].float()
        return (self.words(batch.tokens.ids) * inner).sum(1) / inner.sum(1)


class DropsAlways(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(functional.dropout(super().forward(batch).logits, 0.5, training=True))


class KeepsASecret(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits + self.shift)


# --- the form of the logits -------------------------------------------------------------------------------------------


class ReturnsATensor(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return super().forward(batch).logits  # type: ignore[return-value]


class LosesASample(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits[1:])


class NoChannel(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits[:, 0])


class WholeNumbers(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput((100 * super().forward(batch).logits).long())


class OnAnotherDevice(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.to("meta"))


class NotANumber(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.log())


# --- what the logits mean ---------------------------------------------------------------------------------------------


class ReturnsProbabilities(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.sigmoid())

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        target = functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:])
        return {"bce": functional.binary_cross_entropy(output.logits.float(), target)}


class ReturnsAMask(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput((super().forward(batch).logits > 0).float())


class ReturnsASignedMask(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(20 * (super().forward(batch).logits > 0).float() - 10)


class ReturnsGreyValues(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(255 * super().forward(batch).logits.sigmoid())


class ReturnsLogProbabilities(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(functional.logsigmoid(super().forward(batch).logits))


class CountsProbabilities(Counts):
    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits.sigmoid())


# --- the truth --------------------------------------------------------------------------------------------------------


class ReturnsTheTruth(Sound):
    def forward(self, batch: Batch) -> MethodOutput:
        output = super().forward(batch)
        if self.training:
            return output
        return MethodOutput(20 * functional.interpolate(batch.masks[:, None].float(), output.logits.shape[-2:]) - 10)


class PeeksWhereItCan(ReturnsTheTruth):
    def forward(self, batch: Batch) -> MethodOutput:
        try:
            return super().forward(batch)
        except AttributeError:
            return Sound.forward(self, batch)


class NeedsTheTruth(Sound):
    """Reads the truth without using it, and fails on a blind batch."""

    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits + 0 * batch.masks.sum())


class Peeks(Sound):
    """Adds a number that it computes from the annotation."""

    def peek(self, batch: Batch) -> float:
        raise NotImplementedError

    def forward(self, batch: Batch) -> MethodOutput:
        return MethodOutput(super().forward(batch).logits + self.peek(batch))


class PeeksAtNativeTruths(Peeks):
    def peek(self, batch: Batch) -> float:
        return 0.0 if batch.truths is None else float(batch.truths.float().mean())


class PeeksAtSizes(Peeks):
    def peek(self, batch: Batch) -> float:
        return 0.01 * batch.sizes[0][0] if batch.sizes else 0.0


class PeeksAtCategories(Peeks):
    def peek(self, batch: Batch) -> float:
        return 1.0 if "class 1" in batch.categories else 0.0


class KeepsTheTruth(Sound):
    """Returns in a pass of evaluation the truth of the pass before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(1))

    def forward(self, batch: Batch) -> MethodOutput:
        logits = super().forward(batch).logits + self.kept
        if not self.training and hasattr(batch.masks, "float"):
            self.kept = batch.masks.float().mean().view(1)
        return MethodOutput(logits)


# --- shared images ----------------------------------------------------------------------------------------------------


class SpreadsInOrder(Shares):
    """Takes the rows of the images in turn, whichever the samples see."""

    def spread(self, features: Tensor, batch: Batch) -> Tensor:
        return features.repeat(len(batch), 1, 1, 1)[: len(batch)]


class LooksAtTheWholeBatch(Shares):
    """Normalises by the images of a batch, which hold one of three samples once."""

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        (features,) = super().encode_images(images)
        return (features - features.mean(0),)


class EncodesOtherwise(Shares):
    """Encodes images for later batches in another way than in `forward`."""

    def encoded(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(2 * one for one in batch.encoded) or self.encode_images(batch.images)


FORM = "form of the logits at two image sizes"
LOGITS = "logits are logits"
SHARED = "shared and expanded images give the same logits"
TRUTH = "the truth does not change the logits"
BROKEN: list[tuple[type[Method], str, str]] = [
    (DoesNotBuild, "builds", "no such encoder"),
    (TwoChannels, FORM, "(2, 2, 8, 8)"),
    (OneSizeOnly, FORM, "(2, 1, 8, 8)"),
    (ReturnsATensor, FORM, "Tensor, not a MethodOutput"),
    (LosesASample, FORM, "(1, 1, 8, 8) for 2 samples"),
    (NoChannel, FORM, "(2, 8, 8) for 2 samples"),
    (WholeNumbers, FORM, "torch.int64"),
    (OnAnotherDevice, FORM, "logits on meta, but images on cpu"),
    (NotANumber, FORM, "NaN or infinite"),
    (ReturnsProbabilities, LOGITS, "never negative, as of probabilities"),
    (ReturnsAMask, LOGITS, "from 0 to 1 and none in between, as of a thresholded map"),
    (ReturnsASignedMask, LOGITS, "from -10 to 10 and none in between"),
    (ReturnsGreyValues, LOGITS, "never negative"),
    (ReturnsLogProbabilities, LOGITS, "never positive, as of logarithms of probabilities"),
    (CountsProbabilities, LOGITS, "never negative"),
    (ReturnsTheTruth, TRUTH, "another truth changes the logits by up to 2.0e+01"),
    (PeeksWhereItCan, TRUTH, "another truth changes the logits by up to 2.0e+01"),
    (NeedsTheTruth, TRUTH, "WithheldError: batch.masks is withheld in scoring"),
    (PeeksAtNativeTruths, TRUTH, "another truth changes the logits"),
    (PeeksAtSizes, TRUTH, "another truth changes the logits by up to 8.0e-02"),
    (PeeksAtCategories, TRUTH, "another truth changes the logits by up to 1.0e+00"),
    (KeepsTheTruth, TRUTH, "another truth changes the logits"),
    (SeesItsNeighbours, "permuting the batch permutes the outputs", "difference"),
    (ReadsPadding, "padding tokens do not change logits", "difference"),
    (SpreadsInOrder, SHARED, "difference"),
    (LooksAtTheWholeBatch, SHARED, "difference"),
    (EncodesOtherwise, SHARED, "with images encoded before"),
    (NeedsWords, "empty and over-long text work", "False"),
    (DropsAlways, "evaluation is deterministic", "difference"),
    (KeepsASecret, "save and load give identical logits", "difference"),
]
"""Method, the check that it breaks, and a part of the check's message."""
