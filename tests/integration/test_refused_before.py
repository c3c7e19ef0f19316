"""What refuses a run does so before its folder is touched: nothing is moved aside, made or changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rrsis_bench
from helpers import toy, toy_data
from rrsis_bench import registry
from rrsis_bench.data.sources import synthetic
from rrsis_bench.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("refused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILT_IN, toy.NAME, toy.TARGET)
        registry.installed_targets.cache_clear()
        configs = Path(toy.__file__).parent / "toy_configs"
        for name, value in (("DATA", root / "data"), ("CONFIGS", configs), ("CACHE", root / "cache")):
            patch.setenv(f"RRSIS_{name}", str(value))
        toy_data.make(root / "data")
        synthetic.write(
            root / "data" / "untested", {"preset": "toy", "seed": 0, "layout": "rrsisd"}, 96, {"train": 4, "val": 2}
        )
        rrsis_bench.fit("toy", dataset="toyset", out=root / "run", values={"trainer.max_epochs": 1})
        yield root / "run"
    registry.installed_targets.cache_clear()


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(finished: Path, expected: str, values: dict[str, Any]) -> None:
    before, beside = held(finished), sorted(finished.parent.iterdir())
    with pytest.raises(UserError, match=expected):
        rrsis_bench.fit("toy", dataset="toyset", out=finished, overwrite=True, values=values)
    assert held(finished) == before
    assert sorted(finished.parent.iterdir()) == beside


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("warmup_steps=1000 is not shorter", {"model.schedule.warmup_steps": 1000}),
        ("needs the length of the run", {"trainer.max_epochs": -1}),
        ("there is no metric 'nacc'", {"model.monitor": "nacc"}),
        ("loss_weights names 'dise'", {"model.loss_weights": {"dise": 1.0}, "trainer.log_every_n_steps": 1}),
        ("global_batch=7 is no multiple", {"data.global_batch": 7}),
        ("limit_train_batches", {"trainer.limit_train_batches": 0.01}),
        ("limit_val_batches", {"trainer.limit_val_batches": 0.01}),
        (r"limit_test_batches=0\.01 leaves none of the 3 batches", {"trainer.limit_test_batches": 0.01}),
        ("val_check_interval", {"trainer.val_check_interval": 1000}),
        ("has no sample in split 'test'", {"data.root": "UNTESTED"}),
    ],
)
def test_settings_that_no_run_can_have(finished: Path, expected: str, values: dict[str, Any]) -> None:
    untested = str(finished.parent / "data" / "untested")
    refused(finished, expected, {key: untested if value == "UNTESTED" else value for key, value in values.items()})


def test_a_method_that_cannot_be_trained(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(toy.Toy, "param_groups", lambda self, lr, decay: [{"params": [self.head.weight], "lr": lr}])
        refused(finished, "no group holds the trainable", {})
    monkeypatch.setattr(toy.Toy, "loss", lambda self, output, batch: {"bce": torch.zeros(3)})
    refused(finished, "must be a tensor with one number", {})


def test_a_new_folder_is_not_made(finished: Path) -> None:
    new = finished.parent / "new"
    with pytest.raises(UserError, match="loss_weights"):
        rrsis_bench.fit("toy", dataset="toyset", out=new / "run", values={"model.loss_weights": {"dise": 1.0}})
    assert not new.exists()
