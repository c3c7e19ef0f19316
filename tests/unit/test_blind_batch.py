"""A method is handed no truth where it is scored: nobody can grade his own exam."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from helpers import toy
from rrsis_bench import registry
from rrsis_bench.engine.predict import segment
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UserError, WithheldError
from rrsis_bench.types import Batch, MethodOutput, Withheld

TELLING = ("masks", "categories", "truths", "sizes")
USES: tuple[Callable[[Any], object], ...] = (
    lambda field: field.shape,
    lambda field: field.float(),
    lambda field: field[:, None],
    lambda field: field[0],
    lambda field: 1 - field,
    lambda field: field * 2.0,
    lambda field: field == 1,
    lambda field: field > 0,
    lambda field: ~field,
    lambda field: "ship" in field,
    len,
    list,
    bool,
)


@pytest.mark.parametrize("name", TELLING)
def test_every_use_of_a_withheld_field_names_it(name: str) -> None:
    withheld = getattr(toy.random_batch().blind(), name)
    for use in USES:
        with pytest.raises(WithheldError, match=rf"^batch\.{name} is withheld in scoring and prediction"):
            use(withheld)
    with pytest.raises(TypeError, match="Withheld"):
        torch.sigmoid(withheld)
    assert not hasattr(withheld, "shape")
    assert issubclass(WithheldError, UserError)


def test_a_blind_batch_keeps_image_and_expression_and_moves_like_another() -> None:
    batch = toy.random_batch()
    for blind in (
        batch.blind(),
        batch.blind().blind(),
        batch.blind().to("cpu"),
        replace(batch.blind(), texts=batch.texts),
    ):
        assert [one.name for one in fields(Batch) if isinstance(getattr(blind, one.name), Withheld)] == [
            one.name for one in fields(Batch) if one.name in TELLING
        ]
        assert len(blind) == len(batch)
        assert torch.equal(blind.images, batch.images)
        assert torch.equal(blind.tokens.ids, batch.tokens.ids)
        assert (blind.texts, blind.sample_ids, blind.image_ids) == (batch.texts, batch.sample_ids, batch.image_ids)
    assert torch.equal(batch.masks, toy.random_batch().masks)
    assert batch.blind().to("meta").images.device.type == "meta"
    for again in (copy.deepcopy(batch.blind()), pickle.loads(pickle.dumps(batch.blind()))):
        with pytest.raises(WithheldError, match=r"batch\.truths"):
            again.truths[0]  # type: ignore[index]


def test_pinning_leaves_the_withheld_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self.clone())
    assert isinstance(toy.random_batch().blind().pin_memory().masks, Withheld)


@pytest.mark.slow
@torch.no_grad()
def test_a_compiled_method_takes_a_blind_batch_after_a_seeing_one() -> None:
    torch.compiler.reset()
    method = toy.Toy(toy.Options(dropout=0.0)).eval()
    batch = toy.random_batch()
    plain = method(batch).logits
    method.compile(backend="eager", fullgraph=True)
    assert torch.equal(method(batch).logits, plain)
    assert torch.equal(method(batch.blind()).logits, plain)


class Recorder(toy.Toy):
    """Keeps what each of its calls was given."""

    seen: ClassVar[list[tuple[str, bool]]] = []

    def _note(self, call: str, batch: Batch) -> None:
        self.seen.append((call, isinstance(batch.masks, Withheld)))

    def forward(self, batch: Batch) -> MethodOutput:
        self._note("training" if self.training else "scoring", batch)
        return super().forward(batch)

    def loss(self, output: MethodOutput, batch: Batch) -> dict[str, Tensor]:
        self._note("loss", batch)
        return super().loss(output, batch)

    def calibrate(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._note("calibrate", batch)


class ReturnsTheTruth(toy.Toy):
    """Grades his own exam."""

    def forward(self, batch: Batch) -> MethodOutput:
        if self.training:
            return super().forward(batch)
        return MethodOutput(20.0 * batch.masks[:, None].float() - 10.0)


def task(monkeypatch: pytest.MonkeyPatch, kind: type[toy.Toy]) -> ReferringSegmentationTask:
    monkeypatch.setitem(registry.BUILT_IN, kind.name, toy.TARGET)
    monkeypatch.setattr(registry, "load_class", lambda name: kind)
    monkeypatch.setattr(kind, "seen", [], raising=False)
    return ReferringSegmentationTask(**toy.task_arguments())


def loader(n: int) -> DataLoader[Any]:
    return DataLoader([toy.random_batch(seed=seed) for seed in range(n)], batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path) -> Trainer:
    return Trainer(
        default_root_dir=folder, max_epochs=1, accelerator="cpu", num_sanity_val_steps=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip


class Data(LightningDataModule):
    """As much of a data module as training and calibration ask for."""

    def train_dataloader(self) -> DataLoader[Any]:
        return loader(3)

    def val_dataloader(self) -> DataLoader[Any]:
        return loader(2)


def test_only_training_and_calibration_see_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(monkeypatch, Recorder)
    run = trainer(tmp_path)
    run.fit(made, datamodule=Data())
    run.test(made, loader(1), verbose=False)
    assert {call: blind for call, blind in Recorder.seen} == {
        "training": False, "loss": False, "calibrate": False, "scoring": True,
    }  # fmt: skip
    assert len(set(Recorder.seen)) == 4
    assert [call for call, _ in Recorder.seen].count("scoring") == 2 + 1


@pytest.mark.parametrize("act", ["validate", "test"])
def test_a_method_that_returns_the_truth_gets_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    made = task(monkeypatch, ReturnsTheTruth)
    with pytest.raises(WithheldError, match=r"batch\.masks is withheld in scoring"):
        getattr(trainer(tmp_path), act)(made, loader(1), verbose=False)


def test_prediction_is_blind_too() -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    segment(toy.Toy(toy.Options()).eval(), image, "the red ship")
    with pytest.raises(WithheldError):
        segment(ReturnsTheTruth(toy.Options()).eval(), image, "the red ship")
