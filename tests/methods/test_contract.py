"""The contract: every registered method passes it, and every check of it can fail."""

from __future__ import annotations

import pytest
import torch

from helpers import broken_outputs, broken_training
from helpers.broken_training import DeadWords
from helpers.sound import Biased, BiasedHigh, Counts, Shares, Sound
from rrsis_bench import registry
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.contract import CHECKS, Subject, check_method, registered, run_check, run_checks
from rrsis_bench.methods.contract.device import fakes_work

BROKEN = [*broken_outputs.BROKEN, *broken_training.BROKEN]
INNER = ("lavt", "prior-image", "prior-text")
"""Methods whose contract the inner loop checks; `make test` checks them all."""
OF_REGISTERED = (registered.resolves, registered.variants_build, registered.weights_load)
"""Checks of a registered method's files; tests/unit/test_methods_check.py breaks these."""
NAMES = [
    pytest.param(name, marks=() if name in INNER else pytest.mark.slow) for name in sorted(registry.method_targets())
]


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_method_keeps_the_contract(name: str) -> None:
    checks = check_method(name)
    assert [check.name for check in checks] == list(CHECKS)
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    assert not failed


def test_a_sound_method_passes_every_check() -> None:
    size = sum(parameter.numel() for parameter in Sound().parameters())
    checks = run_checks(Subject(Sound, published={"base": (size, Sound)}))
    assert [check for check in checks if not check.passed] == []
    assert f"{size:,} built" in checks[-1].detail


def test_a_method_that_shares_images_passes_every_check() -> None:
    assert [check for check in run_checks(Subject(Shares)) if not check.passed] == []


def test_a_method_without_parameters_passes_if_it_learns_by_counting() -> None:
    assert [check for check in run_checks(Subject(Counts)) if not check.passed] == []


@pytest.mark.parametrize("kind", [Biased, BiasedHigh])
def test_logits_of_one_sign_pass_if_training_turns_them(kind: type[Method]) -> None:
    check = run_check("logits are logits", Subject(kind))
    assert check.passed
    low, high = (float(number) for number in check.detail.removeprefix("values from ").split(" to "))
    assert high < 0 or low > 0


@pytest.mark.parametrize(("kind", "name", "detail"), BROKEN, ids=[kind.__name__ for kind, _, _ in BROKEN])
def test_each_check_fails_on_a_method_that_breaks_it(kind: type[Method], name: str, detail: str) -> None:
    if name == broken_training.GPU and not fakes_work():
        pytest.skip("this torch is too old for the check")
    check = run_check(name, Subject(kind))
    assert not check.passed
    assert detail in check.detail


def test_size_two_percent_off_fails_and_one_percent_passes() -> None:
    size = sum(parameter.numel() for parameter in Sound().parameters())
    name = "size is the published one"
    assert not run_check(name, Subject(Sound, published={"base": (round(size * 1.03), Sound)})).passed
    assert run_check(name, Subject(Sound, published={"base": (round(size * 1.01), Sound)})).passed


def test_every_check_has_a_method_that_breaks_it() -> None:
    elsewhere = {"size is the published one", *(name for name, check in CHECKS.items() if check in OF_REGISTERED)}
    assert {name for _, name, _ in BROKEN} | elsewhere == set(CHECKS)


def test_card_excuses_parameters_without_a_gradient() -> None:
    name = "gradients reach what trains, and nothing else"
    assert run_check(name, Subject(DeadWords, no_gradient=("words.*",))).passed


def test_checks_leave_the_callers_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run_check("loss falls on one batch", Subject(Sound))
    assert torch.equal(torch.rand(1), expected)
