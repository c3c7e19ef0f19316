"""The contract between the suite and a method.

A method is a plain `torch.nn.Module`. It never imports Lightning, never thresholds, never resizes to native size and
never scores itself: it returns logits and named losses.
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

    A method may have no trainable parameters. The suite then gives it no optimiser, and it learns in the forward passes
    of training: it keeps what it needs in buffers, as BatchNorm does.

    Attributes:
        name: registry name, lower case.
        Options: frozen dataclass of the method's named choices with their defaults. The type of a field says which
            values the option may have; a closed set is a `Literal` (see `methods/options.py`).
        training_only: prefixes of the names of tensors that only training needs, such as `rebuild.`. A checkpoint
            without them can be scored and predicted with.
        input_spec: what the shared transforms produce for the method.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    training_only: ClassVar[tuple[str, ...]] = ()
    input_spec: InputSpec

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the network from a plain mapping, as it stands in a configuration file.

        Raises:
            UsageError: an option that the method lacks, or a value that the option's type does not allow.
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
        """Load a checkpoint that the method's authors released. Default: refuse.

        Args:
            path: the file, in the released layout.

        Returns:
            sha256 of the file.

        Raises:
            UsageError: the method has no released weights that it could load.
            MissingResourceError: the file is missing, unreadable or of another network; the message names the first
                parameters at fault.
        """
        raise UsageError(
            f"{self.name} has no released weights that could be loaded; "
            f"train it (rrsis-bench fit --method {self.name}) and name the run: --run DIR."
        )

    def forward(self, batch: Batch) -> MethodOutput:
        """Foreground logits (B, 1, h, w) of a batch, at a resolution of the method's choice.

        Args:
            batch: in training mode with its truth, in scoring and prediction a blind one (see `Batch.blind`).

        Returns:
            the logits, and in `aux` what `loss` needs besides.
        """
        raise NotImplementedError

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a training step; the suite sums them with the configured weights.

        Args:
            output: of `forward` for the batch.
            batch: with its truth.

        Returns:
            name -> scalar, each a mean over the batch. Every step gives the same names.
        """
        raise NotImplementedError

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Choose on the validation split what the method's recipe chooses there, such as a threshold.

        Called in evaluation mode before each validation of a training. By default the method reads no batch.

        Args:
            batches: the validation split with its truth, on the method's device.
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

        By default the method keeps all of them.
        """

    def encoders(self) -> dict[str, nn.Module]:
        """The pretrained encoders by name, adapters inside them included.

        Papers on parameter-efficient tuning report their trainable share. By default there are none.
        """
        return {}
