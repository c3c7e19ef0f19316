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

    A subclass sets `name` and `Options` (a frozen dataclass whose fields are all of its named choices, with their
    defaults), builds its network in `__init__(options)` with random weights (on the meta device too), and loads base
    weights only in `load_pretrained`.

    A method without trainable parameters is one, too: it learns from what its forward pass keeps in buffers while it is
    in training mode, as BatchNorm does, and is given no optimiser.

    Attributes:
        name: registry name, lower case.
        Options: dataclass of the method's options.
        training_only: prefixes of the names of tensors that only training needs, such as `rebuild.`: a checkpoint that
            lacks all tensors of a prefix is still one to score and predict with.
        input_spec: what the shared transforms must produce for it.
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
        """Load the base weights the options name into the encoders.

        Returns:
            encoder name -> sha256 of the weights file it started from; empty when nothing is pretrained.

        Raises:
            MissingResourceError: a weight that is not on disk and cannot be fetched. Never a silent random start.
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
        """Logits (B, 1, h, w) for a batch, at any resolution the method likes.

        Returns:
            the foreground logits and whatever `loss` needs besides.
        """
        raise NotImplementedError

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses, each a mean over the batch; the suite sums them with the configured weights."""
        raise NotImplementedError

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Choose on the validation split what the method's recipe chooses there, such as a level of its own.

        Called in evaluation mode before each validation of a training. Default: nothing, and no batch is read.

        Args:
            batches: the validation split, on the method's device; `masks` hold the truth at input size.
        """

    def progress(self, epochs: float) -> None:
        """Hear how far the training has come, before each of its steps. Default: nothing.

        A method that is told nothing behaves as late in a training.

        Args:
            epochs: epochs done, the part of the present one included.
        """

    def param_groups(self, base_lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups over the trainable parameters. Default: one group with everything that requires a gradient.

        Args:
            base_lr: learning rate of the recipe.
            weight_decay: weight decay of the recipe.
        """
        return [{"params": trainable(self.parameters()), "lr": base_lr, "weight_decay": weight_decay}]

    def checkpoint_activations(self) -> None:
        """Trade time for memory in training: keep few activations and compute the rest again. Default: nothing."""

    def encoders(self) -> dict[str, nn.Module]:
        """The pretrained backbones by name, adapters inside them included.

        Their trainable share is the figure that parameter-efficient papers print.
        """
        return {}
