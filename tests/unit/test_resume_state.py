"""What a resume restores besides weights, piece by piece: random states, each process's own, the loader, the clock."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rrsis_bench.engine import resume
from rrsis_bench.engine.resume import ExactResume, LastCheckpoint, random_state, restore_random_state
from rrsis_bench.errors import UserError


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    state = random_state()
    yield
    restore_random_state(state)


def draws() -> list[float]:
    """One number of each generator; numpy keeps the second half of a pair of normal numbers for the next call."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def seeded(seed: int) -> dict[str, Any]:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    draws()
    return random_state()


def test_each_generator_goes_on_where_it_was_saved() -> None:
    state = seeded(3)
    expected = [draws() for _ in range(3)]
    seeded(4)
    assert not set(draws()) & set(expected[0])
    restore_random_state(state)
    assert [draws() for _ in range(3)] == expected


def trainer(**changes: Any) -> Any:
    usual = {
        "state": SimpleNamespace(fn="fit"), "world_size": 1, "global_rank": 0, "accumulate_grad_batches": 1,
        "train_dataloader": None, "ckpt_path": "last.ckpt", "global_step": 5,
    }  # fmt: skip
    return SimpleNamespace(**{**usual, **changes})


class Loader:
    """Stands for the training loader: it only has a state."""

    def __init__(self) -> None:
        self.state: Any = {"epoch": 2, "batches": 7}

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = ("loaded", state)


def saved(**changes: Any) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {}
    ExactResume().on_save_checkpoint(trainer(**changes), None, checkpoint)  # type: ignore[arg-type]
    return checkpoint


def test_a_resume_restores_before_the_first_batch_and_only_once() -> None:
    seeded(5)
    checkpoint = saved(train_dataloader=Loader())
    expected = draws()
    seeded(6)
    here, loader = ExactResume(), Loader()
    at = trainer(train_dataloader=loader)
    here.on_load_checkpoint(at, None, checkpoint)  # type: ignore[arg-type]
    here.on_train_start(at, None)  # type: ignore[arg-type]
    assert loader.state == ("loaded", {"epoch": 2, "batches": 7})
    draws()  # as making the loader's iterator may do
    here.on_train_batch_start(at, None, None, 7)  # type: ignore[arg-type]
    assert draws() == expected
    here.on_train_batch_start(at, None, None, 8)  # type: ignore[arg-type]
    assert draws() != expected


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_process_gets_its_own_random_state(rank: int) -> None:
    states, numbers = [], []
    for seed in range(3):
        states.append(seeded(seed))
        numbers.append(draws())
    checkpoint = {"resume": {"random": states, "loader": None, "world_size": 3, "accumulate": 1}}
    at, here = trainer(world_size=3, global_rank=rank), ExactResume()
    here.on_load_checkpoint(at, None, checkpoint)  # type: ignore[arg-type]
    here.on_train_start(at, None)  # type: ignore[arg-type]
    here.on_train_batch_start(at, None, None, 0)  # type: ignore[arg-type]
    assert draws() == numbers[rank]


def test_all_processes_states_are_saved_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(states: list[Any], own: Any) -> None:
        states[:] = ["of rank 0", own, "of rank 2"]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    states = saved(world_size=3, global_rank=1)["resume"]["random"]
    assert (states[0], states[2]) == ("of rank 0", "of rank 2")
    restore_random_state(states[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"world_size": 2}, "2 processes, now there are 1"), ({"accumulate_grad_batches": 4}, "4 accumulated batches")],
)
def test_other_processes_or_accumulation_are_refused(
    changes: dict[str, int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "all_gather_object", lambda states, own: states.__setitem__(0, own))
    checkpoint = saved(**changes)
    with pytest.raises(UserError, match=words):
        ExactResume().on_load_checkpoint(trainer(), None, checkpoint)  # type: ignore[arg-type]
    ExactResume().on_load_checkpoint(trainer(**changes), None, checkpoint)  # type: ignore[arg-type]
    test = trainer(state=SimpleNamespace(fn="test"))
    ExactResume().on_load_checkpoint(test, None, checkpoint)  # type: ignore[arg-type]


def test_training_seconds_add_up_over_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first = LastCheckpoint(Path("last.ckpt"), 0)
    first.on_train_start(trainer(), None)  # type: ignore[arg-type]
    now[0] += 7
    state = first.state_dict()
    assert state == {"seconds": 7.0}
    now[0] = 5000.0  # another process, another clock
    second = LastCheckpoint(Path("last.ckpt"), 0)
    second.load_state_dict(state)
    second.on_train_start(trainer(), None)  # type: ignore[arg-type]
    now[0] += 2
    assert second.trained_seconds() == 9.0
    second.on_train_end(trainer(), None)  # type: ignore[arg-type]
    now[0] += 50
    assert second.trained_seconds() == 9.0
    for clock in (second, first):
        clock.teardown(trainer(), None, "fit")  # type: ignore[arg-type]
