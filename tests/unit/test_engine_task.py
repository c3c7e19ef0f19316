"""The LightningModule: losses, their watch, no waiting for the device, and what its checkpoints refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from helpers import toy
from rrsis_bench import registry
from rrsis_bench.engine.callbacks import run_callbacks
from rrsis_bench.engine.checkpoint import ENTRY, WholeFileIO, read
from rrsis_bench.engine.optim import OptimizerConfig
from rrsis_bench.engine.scored import Scored
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.engine.watch import LossWatch
from rrsis_bench.errors import UsageError, UserError
from rrsis_bench.metrics.definitions import METRICS
from rrsis_bench.metrics.protocols import Protocol
from rrsis_bench.run.folder import RunFolder
from rrsis_bench.types import MethodOutput


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.BUILT_IN, toy.NAME, toy.TARGET)
    registry.installed_targets.cache_clear()
    yield
    registry.installed_targets.cache_clear()


def batches(n: int) -> DataLoader[Any]:
    made = [toy.random_batch(seed=seed) for seed in range(n)]
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, callbacks: list[Callback] | None = None, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults = {"max_epochs": 1, "accelerator": "cpu", "num_sanity_val_steps": 0, "enable_checkpointing": False}
    return Trainer(
        default_root_dir=folder, callbacks=callbacks, plugins=[WholeFileIO()], **{**quiet, **defaults, **options}
    )


def make(**changes: Any) -> ReferringSegmentationTask:
    torch.manual_seed(0)
    return ReferringSegmentationTask(**toy.task_arguments(**changes))


class CountReads(Callback):
    """Counts values read back to the host within each training step, optimiser included."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self._mode: Any = None

    def on_train_batch_start(self, *arguments: Any) -> None:
        counter = self

        class Mode(TorchDispatchMode):
            found = 0

            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if func is torch.ops.aten._local_scalar_dense.default:
                    Mode.found += 1
                return func(*args, **(kwargs or {}))

        counter._mode = Mode()
        counter._mode.__enter__()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self._mode.__exit__(None, None, None)
        self.reads.append(type(self._mode).found)


def test_no_step_reads_back_but_at_the_logging_interval(tmp_path: Path) -> None:
    counter = CountReads()
    trainer(tmp_path, [counter], log_every_n_steps=100).fit(make(), batches(6))
    assert counter.reads == [0] * 6


def test_losses_fall_and_are_logged_as_means_over_the_interval(tmp_path: Path) -> None:
    task = make(optimizer=OptimizerConfig(lr=0.03))
    seen: list[float] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(float(outputs["loss"]))

    trainer(tmp_path, [Keep()], log_every_n_steps=5, max_epochs=4).fit(task, batches(5))
    assert task.latest["loss"] == pytest.approx(sum(seen[-5:]) / 5, rel=1e-5)
    assert seen[-1] < seen[0]


def test_a_loss_that_is_not_finite_names_step_terms_and_samples(tmp_path: Path) -> None:
    task = make(options={"bad_step": 2})
    with pytest.raises(UserError, match="step 2") as caught:
        trainer(tmp_path, log_every_n_steps=4).fit(task, batches(6))
    words = str(caught.value)
    assert "bce=nan" in words
    assert "s2-0" in words
    assert "lr" in words


def test_the_watch_reads_once_and_forgets() -> None:
    watch = LossWatch()
    for k in range(3):
        watch.add(k, ("a",), {"loss": torch.tensor(float(k))})
    assert watch.means() == {"loss": 1.0}
    assert watch.means() == {}


def test_unknown_loss_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bcee"):
        trainer(tmp_path).fit(make(loss_weights={"bcee": 2.0}), batches(2))


def test_loss_weights_scale(tmp_path: Path) -> None:
    runs = []
    for weight in (1.0, 3.0):
        task = make(loss_weights={"bce": weight})
        trainer(tmp_path, log_every_n_steps=1, max_steps=1).fit(task, batches(1))
        runs.append(task.latest["loss"])
    assert runs[1] == pytest.approx(3 * runs[0], rel=1e-5)


def test_a_method_hears_how_far_the_training_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    monkeypatch.setattr(toy.Toy, "progress", lambda self, epochs: heard.append(round(epochs, 6)))

    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "c.ckpt")

    trainer(tmp_path, [Save()], max_epochs=2).fit(make(), batches(5))
    assert heard == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8]
    heard.clear()
    trainer(tmp_path, max_epochs=2).fit(make(), batches(5), ckpt_path=tmp_path / "c.ckpt", weights_only=True)
    assert heard == [1.4, 1.6, 1.8]


def test_watched_scalars_are_logged_and_no_part_of_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = toy.Toy.forward

    def watching(self: toy.Toy, batch: Any) -> MethodOutput:
        return MethodOutput(plain(self, batch).logits, {"watched": {"wheel": torch.tensor(7.0)}})

    monkeypatch.setattr(toy.Toy, "forward", watching)
    task = make()
    trainer(tmp_path, log_every_n_steps=2).fit(task, batches(2))
    assert task.latest["wheel"] == 7.0
    assert task.latest["loss"] == pytest.approx(task.latest["bce"])
    assert task.latest["loss"] < 7.0


def test_unknown_monitor_is_refused() -> None:
    for monitor in ("miu", "nacc"):
        with pytest.raises(UsageError, match=monitor):
            make(monitor=monitor)


def test_scores_are_those_of_the_integers(tmp_path: Path) -> None:
    task = make(protocols=["native-v1", "paper-lavt480-v1", "paper-detris-v1"])
    trainer(tmp_path).test(task, batches(3), verbose=False)
    assert task.scored is not None
    assert task.scored.counts.shape == (12, 3, 3)
    assert task.scored.indices.tolist() == list(range(12))
    assert (task.scored.counts[:, 0, 0] == 15 * 18).all()
    assert task.latest_scores == {
        key: value for key, value in task.scored.of(task.protocols[0]).items() if not key.startswith("n")
    }


def test_checkpoints_hold_only_what_trains_and_plain_values(tmp_path: Path) -> None:
    task, run = make(), trainer(tmp_path)
    run.fit(task, batches(3))
    run.save_checkpoint(tmp_path / "c.ckpt")
    content = read(tmp_path / "c.ckpt")
    assert not [key for key in content["state_dict"] if key.startswith("method.encoder")]
    assert "method.adapter.1.running_mean" in content["state_dict"]
    assert content[ENTRY]["method"] == toy.NAME
    assert set(content[ENTRY]["weights"]) == {"encoder"}
    again = make()
    trainer(tmp_path).test(again, batches(2), ckpt_path=tmp_path / "c.ckpt", weights_only=True, verbose=False)
    trainer(tmp_path).test(task, batches(2), verbose=False)
    assert again.scored is not None
    assert task.scored is not None
    assert (again.scored.counts == task.scored.counts).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "base"}, "--variant tiny"),
        ({"options": {"dim": 4}}, "dim"),
        ({"pretrained": False}, "base weights"),
    ],
)
def test_the_wrong_checkpoint_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    run = trainer(tmp_path)
    run.fit(make(), batches(1))
    run.save_checkpoint(tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=words) as caught:
        trainer(tmp_path).test(make(**changes), batches(1), ckpt_path=tmp_path / "c.ckpt", verbose=False)
    assert "c.ckpt" in str(caught.value)


def test_a_frozen_tensor_that_changes_is_noticed(tmp_path: Path) -> None:
    task = make()

    class Thaw(Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            task.method.encoder[0].weight.data.add_(1.0)

    with pytest.raises(RuntimeError, match="frozen tensors changed"):
        trainer(tmp_path, [Thaw()]).fit(task, batches(1))


@pytest.mark.slow
def test_channels_last_and_compile_leave_names_alone(tmp_path: Path) -> None:
    plain, changed = make(), make(channels_last=True)
    trainer(tmp_path).test(plain, batches(1), verbose=False)
    trainer(tmp_path).test(changed, batches(1), verbose=False)
    assert plain.latest_scores == pytest.approx(changed.latest_scores, abs=0.02)
    assert list(make(compile=True).state_dict()) == list(plain.state_dict())


def test_best_is_the_epoch_with_the_highest_monitored_score_of_the_first_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, asked = iter([0.2, 0.7, 0.5, 0.1]), []

    def choosing(scored: Scored, protocol: Protocol) -> dict[str, float]:
        asked.append(protocol.name)
        return {**dict.fromkeys(METRICS, 1.0 - 0.1 * len(asked)), "oiou": next(scores)}

    monkeypatch.setattr(Scored, "choosing", choosing)
    best = run_callbacks(RunFolder(tmp_path), "oiou", 0, terminal=False, logs=False)[-2]
    task = make(protocols=["paper-lavt480-v1", "native-v1"], monitor="oiou")
    trainer(tmp_path, [best], max_epochs=4, enable_checkpointing=True).fit(task, batches(2), batches(1))
    assert read(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 1
    assert asked == ["paper-lavt480-v1"] * 4
