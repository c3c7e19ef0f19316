"""The contract between the suite and a method.

A method is a plain `torch.nn.Module` that returns logits and named losses. The suite trains the method, resizes its
logits to native size, applies the threshold and scores the masks. A method imports neither Lightning nor the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from rrsis_bench.errors import UsageError
from rrsis_bench.methods.options import build_options
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, InputSpec, MethodOutput


class Method(nn.Module):
    """Base class of every method.

    A subclass sets `name` and `Options`, and builds its network in `__init__(options)` with random weights, on the meta
    device too. It loads base weights only in `load_pretrained`.

    A method may have no trainable parameters. The suite then gives the method no optimiser. The method learns in the
    forward passes of training, which change its buffers as those of BatchNorm.

    Attributes:
        name: registry name, lower case.
        Options: frozen dataclass of the method's named choices with their defaults. The type of a field says which
            values the option may have; a closed set is a `Literal` (see `methods/options.py`).
        training_only: prefixes of the names of tensors that only training needs, such as `rebuild.`. A checkpoint
            without them can be scored and predicted with.
        shares_images: whether `Batch.images` may hold an image of several samples once (see `Batch.image_of`). The
            method then encodes each image once, and calls `Batch.per_sample` where the expressions come in.
        scores_on_host: whether scoring reads values of the device on the host, as steps on 8-bit images do. Training
            never does.
        input_spec: what the shared transforms produce for the method.
        from_base: names of the tensors that `load_pretrained` has set; `methods.build.load_base` notes them.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    training_only: ClassVar[tuple[str, ...]] = ()
    shares_images: ClassVar[bool] = False
    scores_on_host: ClassVar[bool] = False
    input_spec: InputSpec
    from_base: frozenset[str] = frozenset()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the network from a plain mapping, as a configuration file holds it.

        Raises:
            UsageError: the method lacks an option, or an option's type does not allow its value.
        """
        return cls(build_options(cls.name, cls.Options, options))  # type: ignore[call-arg]

    def load_pretrained(self) -> dict[str, str]:
        """Load the base weights that the options name into the encoders. By default there are none.

        Returns:
            encoder name -> sha256 of the weights file it starts from; empty when nothing is pretrained.

        Raises:
            MissingResourceError: weights are neither on disk nor fetched; the method never starts from random ones
                instead.
        """
        return {}

    def load_official(self, path: Path) -> str:
        """Load a checkpoint that the method's authors released. Default: raise UsageError.

        Args:
            path: file in the released layout.

        Returns:
            sha256 of the file.

        Raises:
            UsageError: the method cannot load released weights.
            MissingResourceError: the file is missing, unreadable or of another network; the message names the first
                parameters that do not fit.
        """
        raise UsageError(
            f"{self.name} has no released weights that could be loaded; "
            f"train it (rrsis-bench fit --method {self.name}) and name the run: --run DIR."
        )

    def encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps that `forward` computes from images alone, which the suite may hand over again in later batches.

        A method that defines it has `shares_images`, and calls `self.encoded(batch)` in `forward`. By default there
        are no maps.

        Args:
            images: (U, 3, H, W).

        Returns:
            tensors of U rows each.
        """
        return ()

    def encoded(self, batch: Batch) -> tuple[Tensor, ...]:
        """The maps of a batch's images: those that the batch holds, else those that `encode_images` computes."""
        return batch.encoded or self.encode_images(batch.images)

    def forward(self, batch: Batch) -> MethodOutput:
        """Foreground logits (B, 1, h, w) of a batch, at a resolution of the method's choice.

        Args:
            batch: in training mode with its truth, in scoring and prediction a blind one (see `Batch.blind`).

        Returns:
            the logits, and in `aux` further values that `loss` needs.
        """
        raise NotImplementedError

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a training step; the suite sums them with the configured weights.

        Args:
            output: what `forward` returned for the batch.
            batch: the batch with its truth.

        Returns:
            name -> scalar, each a mean over the batch. Every step gives the same names.
        """
        raise NotImplementedError

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Choose values on the validation split, such as a threshold of the method's own.

        The suite calls this in evaluation mode before each validation of a training. By default the method reads no
        batch.

        Args:
            batches: batches of the validation split with their truth, on the method's device.
        """

    def progress(self, epochs: float) -> None:
        """Called before each training step with the epochs done.

        If it is never called, behave as at the end of training. By default the method ignores the epochs.

        Args:
            epochs: epochs done, the part of the present one included.
        """

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups over the trainable parameters. By default one group holds them all.

        Args:
            base_lr: learning rate of the recipe.
            weight_decay: weight decay of the recipe.
        """
        return [{"params": trainable(self.parameters()), "lr": base_lr, "weight_decay": weight_decay}]

    def checkpoint_activations(self) -> None:
        """Trade time for memory in training: keep few activations and compute the others again.

        A method that does not override this keeps all of them. The suite then refuses the option (`build.check_able`).
        """

    def encoders(self) -> dict[str, nn.Module]:
        """The pretrained encoders by name, adapters inside them included.

        Papers on parameter-efficient tuning report their trainable share. By default there are none.
        """
        return {}
