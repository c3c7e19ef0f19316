"""Made-up results of every board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.results import make_result, make_table, write
from rrsis_bench.metrics.detail import BINS, COLUMNS
from rrsis_bench.results import record
from rrsis_bench.results.detail import Detail, SplitDetail
from rrsis_bench.results.samples import SampleTable
from rrsis_bench.run.folder import RunFolder

METHODS = {"lavt": 0.9, "s4eca": 0.6, "detris": 0.3}
PERTURBATIONS = ("haze", "turn-90", "typos")
TEXTS = ("the second largest white ship", "a dam", "the ship on the left of the dam")


def table_of(seed: int, quality: float, n: int = 90, truth: int = 1) -> SampleTable:
    """Samples whose truth is that of its seed, with a method's own predictions: the better, the higher its quality."""
    counts = make_table(n, seed=truth).counts.copy()
    rng = np.random.default_rng((truth, seed))
    hit = (rng.random(counts.shape[:2]) < quality) * rng.uniform(0.6, 1, counts.shape[:2])
    counts[..., 2] = counts[..., 0] * hit
    counts[..., 1] = counts[..., 2] + rng.integers(0, 200, counts.shape[:2])
    return make_table(n, counts=counts)


def detail_of(table: SampleTable, seed: int, val: bool = True) -> Detail:
    """A detail that adds up to a table's areas, with other instances."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 50, (len(table), len(COLUMNS)))
    values[:, 0] %= 2
    truth, pred, inter = table.view("native").T
    halves = [pred - inter, inter], [rng.integers(2000, 4000, len(table)), truth - inter]
    hist = [_spread(above, below, side, rng) for side, (above, below) in enumerate(zip(*halves, strict=True))]
    values[:, -2 * BINS :] = np.concatenate(hist, axis=1)
    values[:, COLUMNS.index("edge_union")] += values[:, COLUMNS.index("edge_inter")]
    values[:, COLUMNS.index("box_union")] += values[:, COLUMNS.index("box_inter")]
    texts = [TEXTS[k % len(TEXTS)] for k in range(len(table))]
    test = SplitDetail.build(table.sample_id, texts, values)
    return Detail(test, SplitDetail.build([f"v{k}" for k in range(9)], texts[:9], values[:9]) if val else None)


def _spread(above: NDArray[Any], below: NDArray[Any], side: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N, BINS) pixels, those above 0.5 mostly sure; the pixels outside the truth have lower probabilities."""
    steps = np.arange(BINS // 2) + 1.0
    rising, falling = steps / steps.sum(), steps[::-1] / steps.sum()
    low = [rng.multinomial(count, falling if side == 0 else rising) for count in below]
    high = [rng.multinomial(count, falling if side == 0 else rising) for count in above]
    return np.concatenate([low, high], axis=1)


def fill(runs: Path, seeds: int = 2, n: int = 90) -> None:
    """Write results with detail, under perturbations, elsewhere, and of samples without a target."""
    for number, (method, quality) in enumerate(METHODS.items()):
        for seed in range(seeds):
            table = table_of(10 * number + seed, quality, n)
            detail = detail_of(table, seed)
            own = RunFolder(runs / "houston" / f"{method}@lite" / f"seed{seed}")
            said = {"dataset": "houston", "kind": "retrained", "method": method, "variant": "lite", "seed": seed}
            record.write_run(own, make_result(table, detail=detail.block(), **said), table, "a: 1\n", detail=detail)
            for place, name in enumerate(PERTURBATIONS):
                block = {"name": name, "severity": 3, "version": 1, "n_left_out": 0, "n_unchanged": 0}
                counts = table.counts.copy()
                counts[..., 2] = counts[..., 2] * (1 - 0.12 * (place + 1) * (1.2 - quality))
                worse = replace(table, counts=counts)
                result = make_result(worse, beside={"perturbation": block}, language_control=None, **said)
                record.write_run(own.perturbed(f"{name}-3"), result, worse, "a: 1\n")
            moved = table_of(10 * number + seed, quality / 3, n, truth=2)
            write(runs, seed, method=method, table=table_of(40 + number, quality, n, truth=2))
            block = {"trained_on": "houston", "shared": ["ship"], "unseen": ["dam"]}
            there = {**said, "dataset": "tiny", "kind": "smoke"}
            result = make_result(moved, beside={"transfer": block}, language_control=None, **there)
            record.write_run(own.elsewhere("tiny"), result, moved, "a: 1\n")
            table = targetless(table_of(10 * number + seed, quality, n, truth=3), quality)
            said = {"n_skipped": {"empty_truth": n // 3}, "empty_truth": "no-target"}
            write(runs, seed, dataset="tiny-generalised", method=method, table=table, said=said, language_control=None)


def targetless(table: SampleTable, quality: float) -> SampleTable:
    """The table without a target in every third sample; a better method answers more of them with nothing."""
    counts = table.counts.copy()
    counts[::3, :, 0] = counts[::3, :, 2] = 0
    counts[: int(len(table) * quality) : 3, :, 1] = 0
    return replace(table, counts=counts)
