"""The LightningModule of all methods: it feeds a method, sums its losses, and scores its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.engine.boxes import box_scores
from rrsis_bench.engine.checkpoint import (
    ENTRY,
    FORMAT,
    PREFIX,
    check_identity,
    frozen_names,
    hash_tensors,
    read_for,
    strict_load,
)
from rrsis_bench.engine.detail import DetailCounter
from rrsis_bench.engine.encoded import LastImage
from rrsis_bench.engine.gallery import GalleryKeeper
from rrsis_bench.engine.optim import OptimizerConfig, ScheduleConfig, build_optimizer, build_schedule, check_groups
from rrsis_bench.engine.packed import packed_linears, worth_packing
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.watch import LossWatch
from rrsis_bench.errors import UsageError, UserError, did_you_mean
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import build_method, load_base
from rrsis_bench.metrics.counts import count
from rrsis_bench.metrics.definitions import choosing, metrics_of
from rrsis_bench.metrics.metric import SampleCounts
from rrsis_bench.metrics.protocols import NATIVE, Protocol, View
from rrsis_bench.metrics.protocols import get as get_protocol
from rrsis_bench.nn.layers.freezing import trainable
from rrsis_bench.types import Batch, MethodOutput

DEFAULT_OPTIMIZER = OptimizerConfig()
DEFAULT_SCHEDULE = ScheduleConfig()


class ReferringSegmentationTask(LightningModule):
    """Trains and scores any method.

    Args:
        method: registry name.
        variant: name of the method's variant that `options` describe.
        options: the method's own options.
        pretrained: load base weights into the encoders.
        optimizer: optimiser and its hyper-parameters.
        schedule: schedule of the learning rate, advanced at each optimiser step.
        loss_weights: factors of the method's losses by name; a loss without a factor has 1.
        protocols: names of the protocols. The first one chooses the checkpoint; a test scores by all.
        monitor: metric that chooses the checkpoint, under the first protocol.
        compile: compile the network with `torch.compile`.
        channels_last: keep images and feature maps channels-last in memory.
        activation_checkpointing: compute activations again in the backward pass, for methods that can (`check_able`).
        recipe: name of the recipe that the values above come from; only the result states it.
    """

    def __init__(
        self,
        method: str,
        variant: str,
        options: dict[str, Any] | None = None,
        pretrained: bool = True,
        optimizer: OptimizerConfig = DEFAULT_OPTIMIZER,
        schedule: ScheduleConfig = DEFAULT_SCHEDULE,
        loss_weights: dict[str, float] | None = None,
        protocols: Sequence[str] = ("native-v1",),
        monitor: str = "miou",
        compile: bool = False,
        channels_last: bool = False,
        activation_checkpointing: bool = False,
        recipe: str | None = None,
    ) -> None:
        super().__init__()
        self.method_name, self.variant = method, variant
        self.recipe = recipe
        self.options = dict(options or {})
        self.optimizer_config, self.schedule_config = optimizer, schedule
        self.loss_weights = dict(loss_weights or {})
        self.protocols: tuple[Protocol, ...] = tuple(get_protocol(name) for name in protocols)
        self.monitor = choosing(monitor, self.protocols[0])
        self.views: tuple[View, ...] = tuple(dict.fromkeys(protocol.view for protocol in self.protocols))
        self.method, self.weights = build_method(method, variant, self.options, pretrained)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if activation_checkpointing:
            self.method.checkpoint_activations()
        if compile:
            self.method.compile()
        # A checkpoint may lack the frozen tensors, which Lightning's strict loading would refuse.
        # `on_load_checkpoint` checks every other tensor.
        self.strict_loading = False
        self.counts = SampleCounts()
        self.last_image = LastImage()
        self.scored: Scored | None = None
        self.gallery: GalleryKeeper | None = None
        self.detail: DetailCounter | None = None
        self.origin: dict[str, Any] = {}  # entries of checkpoints that describe the run; `engine.fit` sets them
        self.choosing = True  # whether the checkpoint that is being written was chosen by its validation score
        self.watch = LossWatch()
        self.latest: dict[str, float] = {}
        self.latest_scores: dict[str, float] = {}
        self._frozen = frozen_names(self.method)
        self._hash_frozen()
        self._has_gradients = bool(trainable(self.method.parameters()))
        self._compiled = compile
        self._while_testing = ExitStack()

    def load_frozen_weights(self) -> None:
        """Load the base weights if the method has frozen tensors: a checkpoint lacks those of base weights."""
        if self._frozen:
            self.weights = load_base(self.method)
            self._hash_frozen()

    def _hash_frozen(self) -> None:
        state = self.method.state_dict()
        self._left_out = [name for name in self._frozen if name in self.method.from_base]
        self._frozen_sha256 = hash_tensors(state, self._frozen)
        whole = self._left_out == self._frozen
        self._left_out_sha256 = self._frozen_sha256 if whole else hash_tensors(state, self._left_out)

    def forward(self, batch: Batch) -> MethodOutput:
        """The method's output for a batch; its logits are (B, 1, h, w)."""
        output: MethodOutput = self.method(self._laid_out(batch))
        return output

    def _laid_out(self, batch: Batch) -> Batch:
        return replace(batch, images=batch.images.contiguous(memory_format=self.memory_format))

    # --- training -----------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Check that the method can train on the trainer's processes.

        Raises:
            UsageError: a method that learns without gradients has several processes: each would learn from its samples
                only.
        """
        if stage == "fit" and not self._has_gradients and self.trainer.world_size > 1:
            raise UsageError(
                f"{self.method_name} learns without gradients, from the samples of one process: use --trainer cpu."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Compute the weighted sum of the method's losses. The host reads it at the logging interval only.

        Returns:
            the scalar sum; None for a method without trainable parameters, so that Lightning makes no step.

        Raises:
            UsageError: `loss_weights` names a loss that the method does not have.
            UserError: a loss is NaN or infinite.
        """
        batches = self.trainer.num_training_batches
        self.method.progress(self.trainer.current_epoch + batch_idx / batches)
        output = self(batch)
        losses = self.method.loss(output, batch)
        if unknown := sorted(set(self.loss_weights) - set(losses)):
            raise UsageError(
                f"model.loss_weights names '{unknown[0]}', which {self.method_name} does not have."
                f"{did_you_mean(unknown[0], list(losses))}"
            )
        for name, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.ndim:
                what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
                raise UserError(
                    f"the loss '{name}' of {self.method_name} is {what}; it must be a tensor with one number, the mean "
                    f"over the batch. rrsis-bench methods check {self.method_name} checks the others."
                )
        total = torch.stack([self.loss_weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        self.watch.add(self.global_step, batch.sample_ids, {"loss": total, **losses, **output.aux.get("watched", {})})
        interval: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (self.global_step + 1) % interval == 0:
            self.log_losses(len(batch))
        return total if self._has_gradients else None

    def log_losses(self, batch_size: int = 1) -> None:
        """Log the mean losses since the last logging.

        Raises:
            UserError: a loss is NaN or infinite.
        """
        if means := self.watch.means():
            self.latest = means
            values = {f"train/{name}": value for name, value in means.items()}
            self.log_dict(values, on_step=True, on_epoch=False, batch_size=batch_size)

    def on_fit_start(self) -> None:
        """Call the method's `train`, which keeps frozen parts in evaluation mode. Lightning does not call it."""
        self.method.train()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make optimiser and schedule for the method's parameter groups; None if it has no trainable parameters."""
        config = self.optimizer_config
        groups = self.method.param_groups(config.lr, config.weight_decay)
        check_groups(self.method, groups)
        groups = [group for group in groups if len(group["params"]) > 0]
        if not groups:
            return None
        # The gradient scaler of 16-bit floats cannot clip the gradients of a fused step.
        fused = self.device.type in {"cpu", "cuda"} and not str(self.trainer.precision).startswith("16")
        optimizer = build_optimizer(groups, config, fused)
        steps = self.trainer.estimated_stepping_batches
        epochs = self.trainer.max_epochs or 0
        per_epoch = steps / epochs if epochs > 0 else steps
        schedule = build_schedule(optimizer, self.schedule_config, steps, per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_end(self) -> None:
        """Check that training has not changed the frozen tensors.

        Raises:
            RuntimeError: it has.
        """
        if hash_tensors(self.method.state_dict(), self._frozen) != self._frozen_sha256:
            raise RuntimeError(
                f"{self.method_name}: frozen tensors changed during training (a frozen encoder's BatchNorm in training "
                "mode does that); the method must keep its frozen modules in evaluation mode."
            )

    # --- scoring ------------------------------------------------------------------------------------------------

    def _count(self, batch: Batch, views: Sequence[View], split: str) -> None:
        seen = self._laid_out(batch.blind())
        if not self._compiled:  # `torch.compile` compiles `forward` alone, which then encodes the images
            seen = self.last_image.complete(self.method, seen)
        output = self(seen)
        logits = output.logits.float()
        boxes, boxed = box_scores(output.aux, batch)
        self.log_dict({f"{split}/{name}": value for name, value in boxes.items()}, batch_size=boxed, sync_dist=True)
        self.counts.update(batch.indices, count(logits, batch, self.method.input_spec.image_size, views))
        if self.gallery is not None:
            self.gallery.keep(logits, batch, self.method.input_spec.image_size)
        if self.detail is not None:
            self.detail.add(logits, batch)

    def _finish(self, views: tuple[View, ...], split: str) -> Scored:
        indices, counts = self.counts.compute()
        self.counts.reset()
        self.last_image = LastImage()
        places, data = indices.cpu().numpy(), getattr(self.trainer, "datamodule", None)
        targeted = data.targeted(getattr(data, f"{split}_dataset")) if isinstance(data, ReferringDataModule) else None
        detail = None if self.detail is None else self.detail.gathered()
        return Scored(places, counts.cpu().numpy(), views, None if targeted is None else targeted[places], detail)

    def on_validation_start(self) -> None:
        """In training, call the method's `calibrate` with the batches of val, if the method defines it."""
        self.last_image = LastImage()
        if self.trainer.state.fn == "fit" and type(self.method).calibrate is not Method.calibrate:
            loader = self.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
            with torch.no_grad():
                self.method.calibrate(batch.to(self.device) for batch in loader)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the areas for the first protocol."""
        self._count(batch, self.views[:1], "val")

    def on_test_start(self) -> None:
        """On a CPU, replace linear layers by faster ones for fixed weights, unless `torch.compile` has done so."""
        self.last_image = LastImage()
        if self.device.type == "cpu" and not self._compiled and worth_packing():
            self._while_testing.enter_context(packed_linears(self.method))

    def on_test_end(self) -> None:
        """Restore the linear layers, and free their second copy of the weights."""
        self._while_testing.close()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the areas for every protocol; in the language control, for what its ratios are made of."""
        self._count(batch, self._test_views, "test")

    def on_validation_epoch_end(self) -> None:
        """Store the integers, and log `val/<metric>` of the first protocol."""
        self.scored = self._finish(self.views[:1], "val")
        self._log_scores("val", self.scored)

    @property
    def _test_views(self) -> tuple[View, ...]:
        if not getattr(getattr(self.trainer, "datamodule", None), "language_control", False):
            return self.views
        return tuple(view for view in self.views if view in (self.protocols[0].view, NATIVE))

    def on_test_epoch_end(self) -> None:
        """Store the integers for the result, and log `test/<metric>` of the first protocol."""
        self.scored = self._finish(self._test_views, "test")
        self._log_scores("test", self.scored)

    def _log_scores(self, split: str, scored: Scored) -> None:
        found = scored.choosing(self.protocols[0]) if split == "val" else scored.of(self.protocols[0])
        scores = {name: value for name, value in found.items() if name in metrics_of(self.protocols[0])}
        self.latest_scores = scores
        self.log_dict({f"{split}/{name}": value for name, value in scores.items()}, sync_dist=True)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def read_checkpoint(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint of this method, variant and options; see `read_for`."""
        return read_for(path, self.method_name, self.variant, self.options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove the frozen tensors that base weights hold, and add the entry that describes the checkpoint."""
        left_out = {PREFIX + name for name in self._left_out}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            key: value for key, value in state.items() if key.startswith(PREFIX) and key not in left_out
        }
        checkpoint[ENTRY] = {
            "format": FORMAT,
            "method": self.method_name,
            "variant": self.variant,
            "options": self.options,
            "weights": self.weights,
            "frozen_sha256": self._left_out_sha256,
            **self.origin,
            **self._selection(),
        }

    def _selection(self) -> dict[str, Any]:
        """The identity of the run's data, and the split that chose the checkpoint that is being written."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ReferringDataModule):
            return {"data": None, "selected_on": "unknown" if self.choosing else "none"}
        return {"data": data.identity(), "selected_on": data.select_on if self.choosing else "none"}

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Load a checkpoint strictly.

        Raises:
            UserError: the checkpoint belongs to another method, variant, options or base weights.
        """
        source = getattr(self.trainer, "ckpt_path", None) or "given"
        check_identity(checkpoint, self.method_name, self.variant, self.options, source)
        strict_load(self.method, checkpoint, source, whole=self.trainer.state.fn == "fit")
