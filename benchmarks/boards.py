"""How long the statistics of a board take, on one core, at the size of the largest test split.

    python benchmarks/boards.py

prints a Markdown table: the intervals of one result (all protocols and metrics), the comparison of two methods (all
metrics), and the ranks of a table of twelve methods with three seeds each.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import numpy as np

from rrsis_bench.metrics.protocols import PROTOCOLS
from rrsis_bench.stats.bootstrap import RESAMPLES, intervals
from rrsis_bench.stats.paired import RunCounts, compare
from rrsis_bench.stats.ranks import rank_groups


def made_up(samples: int, seed: int) -> RunCounts:
    """A run whose IoUs are drawn; each sample is an image of its own, the slowest case."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(100, 10_000, samples)
    counts = np.stack([truth, truth, (truth * rng.random(samples)).astype(np.int64)], axis=1)
    ids = tuple(f"{k:06d}" for k in range(samples))
    return RunCounts(ids, ids, counts)


def seconds(step: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=16_000, help="default: 16000")
    args = parser.parse_args()
    runs = [made_up(args.samples, seed) for seed in range(36)]
    table = {f"m{k}": runs[3 * k : 3 * k + 3] for k in range(12)}
    steps: dict[str, Callable[[], object]] = {
        "intervals of one result, 4 protocols x 9 metrics": lambda: intervals(
            dict.fromkeys(PROTOCOLS, runs[0].counts), runs[0].image_id
        ),
        "comparison of two methods, 9 metrics": lambda: compare(runs[:1], runs[1:2]),
        "ranks of 12 methods x 3 seeds by mIoU": lambda: rank_groups(table),
    }
    print(f"{RESAMPLES:,} resamples of {args.samples:,} samples, seconds of one core:\n")
    print("| what | seconds |\n|---|---|")
    for what, step in steps.items():
        print(f"| {what} | {seconds(step):.1f} |", flush=True)


if __name__ == "__main__":
    main()
