"""Forecasts: memory and operations of fake steps are those of real ones, and the verb's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from rrsis_bench import config, registry
from rrsis_bench.cli import forecast as verb
from rrsis_bench.cli import main
from rrsis_bench.cost import memory
from rrsis_bench.cost.cards import CARDS, Card
from rrsis_bench.cost.forecast import CONTEXT_GIB, GIB, OVERHEAD, Plan, batch_costs, on_card, preset, run_flops
from rrsis_bench.cost.memory import StepCost, step_cost
from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.methods.base import Method
from rrsis_bench.nn.layers.freezing import trainable

OVERESTIMATE = 0.1


def adamw(method: Method) -> torch.optim.Optimizer:
    return torch.optim.AdamW(method.param_groups(1e-4, 0.01))


def built(name: str, variant: str) -> Method:
    method: Method = registry.load_class(name).from_options(config.variant_options(name, variant))
    return method


def allocated(name: str, variant: str, batch_size: int) -> int:
    """Peak bytes that torch's allocator hands out in two real training steps: the profiler's record is the referee."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        method, batch = built(name, variant), None
        batch = sample_batch(method, batch_size, "cpu")
        optimizer = adamw(method)
        for _ in range(2):
            torch.stack(list(method.train().loss(method(batch), batch).values())).sum().backward()
            optimizer.step()
            method.zero_grad()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [("lavt", "tiny"), ("detris", "tiny"), ("crobim", "tiny")])
def test_memory_is_that_of_a_real_step(name: str, variant: str) -> None:
    wanted = allocated(name, variant, 4)
    found = step_cost(lambda: built(name, variant), adamw, 4, as_published=False).training_bytes
    assert abs(found - wanted) <= OVERESTIMATE * wanted, (found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lavt", "s4eca"])
def test_operations_are_those_of_a_real_step(name: str) -> None:
    method = built(name, "tiny")
    batch = sample_batch(method, 2, "cpu")
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        torch.stack(list(method.train().loss(method(batch), batch).values())).sum().backward()
    cost = step_cost(lambda: built(name, "tiny"), adamw, 2, as_published=False)
    assert cost.training_flops == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in method.parameters())
    assert cost.trainable == sum(parameter.numel() for parameter in trainable(method.parameters()))


@pytest.mark.slow
def test_state_is_weights_and_two_moments() -> None:
    method = built("lavt", "tiny")
    storages = {tensor.untyped_storage() for tensor in (*method.parameters(), *method.buffers())}
    weights = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    batch = sample_batch(method, 2, "cpu")
    torch.stack(list(method.loss(method(batch), batch).values())).sum().backward()
    trained = [parameter for parameter in method.parameters() if parameter.grad is not None]
    moments = 2 * sum(parameter.nbytes for parameter in trained)
    cost = step_cost(lambda: built("lavt", "tiny"), adamw, 2)
    steps = 4 * len(trained)  # the optimiser counts them for each parameter
    assert cost.state_bytes == weights + moments + steps
    assert weights < cost.scoring_bytes < cost.training_bytes


def cost(batch_size: int, gib: float) -> StepCost:
    return StepCost(batch_size, 1, 1, GIB, round(gib * GIB), GIB, 3e12 * batch_size, 1e12 * batch_size)


PLAN = Plan({"train": 1000, "val": 100, "test": 50}, 10, 8, 8, 2, True)


def test_a_run_is_its_epochs_validations_and_two_passes_over_test() -> None:
    assert run_flops(PLAN, cost(8, 5)) == pytest.approx(10 * 1000 * 3e12 + (10 * 100 + 2 * 50) * 1e12)


def test_the_largest_batch_fits_and_the_next_one_does_not() -> None:
    card = Card("a card", 24, 50.0, 100.0)
    found = on_card(card, PLAN, cost(8, 1 + 8 * 0.9), 0.9 * GIB)
    needs = [OVERHEAD * (1 + 0.9 * size) + CONTEXT_GIB for size in (found.largest_batch, found.largest_batch + 1)]
    assert needs[0] <= card.memory_gib < needs[1]
    assert found.fits
    assert found.hours == pytest.approx((31.1e15 / (0.45 * 200e12) / 3600, 31.1e15 / (0.25 * 200e12) / 3600))
    assert not on_card(Card("small", 4, 1, 1), PLAN, cost(8, 1 + 8 * 0.9), 0.9 * GIB).fits


def test_the_preset_is_one_that_fits() -> None:
    card, other = Card("a card", 8, 50.0, 100.0), Plan({"train": 1000}, 10, 8, 8, 1, True)
    fitting, tight = on_card(Card("big", 80, 1, 1), other, cost(8, 9), GIB), on_card(card, other, cost(8, 9), GIB)
    assert (fitting.fits, tight.fits) == (True, False)
    limit = (card.memory_gib - CONTEXT_GIB) / OVERHEAD * GIB
    assert preset(card, other, fitting, "gpu", None) == "gpu"
    assert preset(card, PLAN, fitting, "gpu", None) == "ddp", "two cards"
    assert preset(card, other, fitting, "low-memory", None) == "low-memory"
    assert preset(card, other, tight, "gpu", int(limit) - 1) == "low-memory"
    assert preset(card, other, tight, "gpu", int(limit) + 1) == "fsdp"
    assert preset(card, other, tight, "low-memory", None) == "fsdp"


@pytest.mark.parametrize(("method", "again"), [("lavt", True), ("prior-text", False)])
def test_the_verb_names_the_preset_of_a_card_that_is_too_small(
    method: str, again: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def peak(build: Any, optimizer: Any, batch_size: int, half: bool, checkpointing: bool) -> int:
        asked.append((batch_size, half, checkpointing))
        return 2 * GIB

    monkeypatch.setattr(memory, "training_bytes", peak)
    monkeypatch.setattr(verb, "cost_of", lambda config, plan: (cost(8, 30), 3 * GIB))
    words = ["forecast", "--method", method, "--dataset", "rrsisd", "--gpu", "4060"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["cards"]["4060"]["preset"], report["low_memory_bytes"]) == ("low-memory", 2 * GIB)
    assert asked == [(2, True, again)], "batches of two in bf16; activations again where the method can"
    assert main(words) == 0
    assert "low-memory trains on batches of two" in " ".join(capsys.readouterr().out.split())


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--method", "prior-text", "--dataset", "rrsisd", "--gpu", "4090", "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["plan"]["samples"] == {"train": 12181, "val": 1740, "test": 3481}
    assert set(report["cards"]) == {"4090"}
    assert main(["forecast", "--method", "prior-image", "--dataset", "tiny", "--variant", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "A forecast, not a measurement" in printed
    assert all(card.title in printed for card in CARDS.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dataset", "rrsisd", "--gpu", "h10"), "Did you mean 'h100'"),
        (("--dataset", "own"), "--samples N"),
        (("--dataset", "rrsisd", "--gpus", "0"), "--gpus"),
        (("--dataset", "rrsisd", "--variant", "huge"), "variant"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--method", "lavt", *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.slow
def test_a_sample_adds_what_a_larger_batch_shows() -> None:
    plan = Plan({"train": 1}, 1, 3, 3, 1, False)
    found, sample_bytes = batch_costs(lambda: built("detris", "tiny"), adamw, plan, False)
    other = step_cost(lambda: built("detris", "tiny"), adamw, 1)
    assert sample_bytes == (found.training_bytes - other.training_bytes) / 2 > 0


def test_a_storage_shared_by_two_tensors_counts_once() -> None:
    from rrsis_bench.cost.memory import LiveBytes

    live = LiveBytes()
    weight = nn.Parameter(torch.zeros(256))
    live.hold(weight)
    live.hold(weight.data.view(16, 16))
    assert live.now == 1024
    with live:
        made = torch.zeros(512)
        assert live.now == 1024 + 2048
        made = made + 1
        del made
    assert (live.now, live.peak) == (1024, 1024 + 4096)


@pytest.mark.slow
def test_a_step_that_values_decide_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--method", "pslgsam", "--dataset", "rrsisd", "--variant", "tiny"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no forecast of pslgsam (tiny): the values of its tensors decide what a step computes" in line
