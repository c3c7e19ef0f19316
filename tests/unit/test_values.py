"""What the values of a configuration may be: the table knows every key, and every edge of what a key may hold."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

from helpers.wrong_values import RIGHT, WRONG
from rrsis_bench import config
from rrsis_bench.cli._choices import dotted_values
from rrsis_bench.config import load_yaml
from rrsis_bench.data.datamodule import ReferringDataModule
from rrsis_bench.data.transforms import Augment
from rrsis_bench.engine.optim import OptimizerConfig, ScheduleConfig
from rrsis_bench.engine.task import ReferringSegmentationTask
from rrsis_bench.errors import UsageError
from rrsis_bench.run.request import RunRequest
from rrsis_bench.run.resolve import resolve
from rrsis_bench.run.values import BLOCKS, KINDS, check

RUNS = Path(__file__).resolve().parents[2] / "results" / "runs"
TYPED = {"model.select_by", "model.score_by"}
"""Keys that stand for `model.protocols` in files and on the command line."""


NEEDED: dict[str, dict[str, Any]] = {
    "model.schedule.milestones": {"model.schedule.name": "step"},
    "model.schedule.warmup_factor": {"model.schedule.warmup_steps": 5},
}
"""Key -> values without which it has no effect, and is refused."""


def request(key: str, word: str) -> RunRequest:
    method = None if key == "model.method" else "lavt"
    values = dotted_values([f"--{key}={word}"])
    return RunRequest(
        method, variant=None if key == "model.variant" else "tiny", values={**NEEDED.get(key, {}), **values}
    )


def inside(block: str) -> set[str]:
    start = f"{block}."
    return {key.removeprefix(start) for key in KINDS if key.startswith(start) and "." not in key.removeprefix(start)}


def test_the_table_names_every_value_that_is_read() -> None:
    assert inside("trainer") == set(inspect.signature(Trainer).parameters)
    assert inside("data") == set(inspect.signature(ReferringDataModule).parameters)
    named = set(inspect.signature(ReferringSegmentationTask).parameters)
    assert inside("model") | {"optimizer", "schedule"} == named
    assert inside("model.optimizer") == {field.name for field in fields(OptimizerConfig)}
    assert inside("model.schedule") == {field.name for field in fields(ScheduleConfig)}
    assert {"model", "model.optimizer", "model.schedule", "data", "trainer"} == BLOCKS
    for name in (field.name for field in fields(Augment)):
        assert KINDS["data.augment"].fits({name: 0.5})


def test_what_the_code_takes_by_default_is_allowed() -> None:
    for block, kind in (("trainer", Trainer), ("data", ReferringDataModule), ("model", ReferringSegmentationTask)):
        for name, parameter in inspect.signature(kind).parameters.items():
            key = f"{block}.{name}"
            if parameter.default is inspect.Parameter.empty or key in BLOCKS:
                continue
            # `base.yaml` switches Lightning's own sampler off.
            assert KINDS[key].fits(parameter.default) or key == "trainer.use_distributed_sampler", key


def test_every_key_has_wrong_values_to_try() -> None:
    assert set(KINDS) | TYPED | BLOCKS <= WRONG.keys()


@pytest.mark.parametrize(("key", "word"), [(key, word) for key, words in RIGHT.items() for word in words])
def test_a_right_value_is_taken_as_it_is(key: str, word: str) -> None:
    values = dotted_values([f"--{key}={word}"])
    found = config.flat(resolve(request(key, word)).config)
    if key not in TYPED:
        wanted = config.flat(values[key], key) if isinstance(values[key], dict) and values[key] else values
        assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("key", "word", "message"),
    [
        ("trainer.max_epochs", "-5", "trainer.max_epochs must be a whole number of at least 1 or -1 or null, not -5."),
        ("model.optimizer.lr", '"1e-4"', "This is text: write the number without quotes."),
        ("trainer.max_epoch", "5", "unknown key 'trainer.max_epoch' in the configuration. Did you mean 'trainer.max_e"),
        ("model.optimizer", "adam", "such as model.optimizer.name, not 'adam'"),
        ("data.limit", "{trian: 5}", "unknown key 'data.limit.trian'. Did you mean 'train'?"),
        ("trainer.default_root_dir", "x", "--out names the run folder"),
    ],
)  # fmt: skip
def test_messages_say_what_is_allowed(key: str, word: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(request(key, word))
    assert message in str(refused.value)


def test_files_are_checked_likewise(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    for text, message in (
        ("model: 3\n", f"{mine}: model must be a mapping"),
        ("model: {optimizer: adam}\n", f"{mine}: model.optimizer must be a mapping"),
        ("trainer: {max_epochs: many}\n", f"{mine}: trainer.max_epochs must be"),
        ("trainr: {max_epochs: 1}\n", f"{mine}: unknown key 'trainr'"),
        ("model: {variant: [tiny]}\n", "model.variant must be text"),
    ):
        mine.write_text(text)
        with pytest.raises(UsageError, match=message):
            resolve(RunRequest("lavt", files=(mine,)))
    mine.write_text("model:\ntrainer: {max_epochs: 2}\n")  # a block whose lines are all commented out
    assert resolve(RunRequest("lavt", files=(mine,))).config["trainer"]["max_epochs"] == 2


def test_every_committed_run_s_configuration_is_allowed() -> None:
    paths = sorted(RUNS.rglob("config.yaml"))
    assert paths
    for path in paths:
        loaded = load_yaml(path)
        if "scored" not in loaded:  # predictions of another framework have no configuration of ours
            check(loaded)


@pytest.mark.parametrize(
    ("words", "other"),
    [
        ({"model.schedule.power": 2.0, "model.schedule.name": "cosine"}, "model.schedule.name=cosine"),
        ({"model.schedule.floor": 1e-6}, "model.schedule.name=poly"),
        ({"model.schedule.gamma": 0.5}, "model.schedule.name=poly"),
        ({"model.schedule.milestones": [3]}, "model.schedule.name=poly"),
        ({"model.schedule.warmup_factor": 0.5, "model.schedule.warmup_steps": 0}, "model.schedule.warmup_steps=0"),
        (
            {"trainer.gradient_clip_algorithm": "value", "trainer.gradient_clip_val": None},
            "trainer.gradient_clip_val=null",
        ),
    ],
)
def test_a_typed_value_without_effect_is_refused(words: dict[str, Any], other: str) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(words))} has no effect with {other}"):
        resolve(RunRequest("lavt", variant="tiny", recipe="suite", values=words))


def test_it_is_taken_where_it_has_one() -> None:
    words = {
        "model.schedule.name": "cosine",
        "model.schedule.floor": 1e-6,
        "model.schedule.warmup_steps": 3,
        "model.schedule.warmup_factor": 0.5,
        "trainer.gradient_clip_val": 1.0,
        "trainer.gradient_clip_algorithm": "value",
    }
    assert set(words) <= set(resolve(RunRequest("lavt", values=words)).typed)
