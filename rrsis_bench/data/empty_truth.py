"""The rule for samples whose true mask is empty, such as the all-black masks that RISBench is reported to hold.

`skip` leaves them out of training, validation and test: an expression without a referent has no IoU that all protocols
agree on, and a network that predicts nothing would gain from it. `keep` is for data sets that mean "nothing fits": each
protocol then scores an empty union by its own convention. `no-target` is for data sets of generalised referring
segmentation: a method trains on these samples, the generalised protocols score them, and all others leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from rrsis_bench.errors import UsageError, did_you_mean

EmptyTruth = Literal["skip", "keep", "no-target"]
RULES: tuple[EmptyTruth, ...] = get_args(EmptyTruth)
REASON = "empty_truth"
"""Key of the rule in `data`, and of the number of skipped samples in a result's `n_skipped`."""


def rule(value: Any) -> EmptyTruth:
    """The rule of a configuration's `data.empty_truth`; None is `skip`.

    Raises:
        UsageError: another value.
    """
    if value is None:
        return "skip"
    if value not in RULES:
        raise UsageError(
            f"data.empty_truth is 'skip', 'keep' or 'no-target', not {value!r}.{did_you_mean(str(value), list(RULES))}"
        )
    return cast(EmptyTruth, value)


def told(counts: Mapping[str, int], chosen: EmptyTruth) -> str:
    """Say how many samples of each split have an empty truth, and what the rule does with them; "" if none has.

    Args:
        counts: split -> number of samples whose truth is empty.
        chosen: the rule.
    """
    total = sum(counts.values())
    if not total:
        return ""
    places = ", ".join(f"{split} {count:,}" for split, count in counts.items() if count)
    samples = "1 sample has" if total == 1 else f"{total:,} samples have"
    done = {
        "skip": "neither trained on nor scored",
        "keep": "kept: each protocol scores an empty union by its own convention",
        "no-target": "trained on; only the generalised protocols score them",
    }
    return f"{samples} an empty truth ({places}); by the rule {REASON}: {chosen}, {done[chosen]}"


def skipped(count: int) -> dict[str, int]:
    """What a result's `n_skipped` holds for this rule: the reason and its number of samples; empty if none is."""
    return {REASON: count} if count else {}


def stated(chosen: EmptyTruth) -> dict[str, EmptyTruth]:
    """What the `dataset` block of a result says of the rule: `no-target`, whose samples the samples file holds."""
    return {REASON: chosen} if chosen == "no-target" else {}


def only_generalised(dataset: Mapping[str, Any]) -> bool:
    """Whether, by the `dataset` block of a result, only the generalised protocols score samples without a target."""
    return dataset.get(REASON) == "no-target"
