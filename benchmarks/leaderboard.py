"""Time the boards of a folder of many results: `python benchmarks/leaderboard.py [RUNS]` (default 10,000).

The runs are of full size: 400 samples each, four protocols with all breakdowns, as `rrsis-bench test` writes them. A
dozen are made by the suite; the others are theirs under other names, sealed anew.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np

from rrsis_bench.boards import leaderboard
from rrsis_bench.files import json_text
from rrsis_bench.metrics.protocols import PROTOCOLS, views
from rrsis_bench.results import record
from rrsis_bench.results.samples import SampleTable, encode
from rrsis_bench.run.folder import RunFolder

SAMPLES, IMAGES, SEEDS, METHODS = 400, 200, 5, 100
ORIGINALS = 12
NAME = "method-name-to-fill-in"


def originals() -> list[tuple[str, bytes]]:
    """Texts of `result.json`, with the method's name to be filled in, and the bytes of their samples."""
    found = []
    rng = np.random.default_rng(0)
    truth = rng.integers(50, 2000, (SAMPLES, 1)).repeat(len(views(PROTOCOLS)), 1)
    for number in range(ORIGINALS):
        hit = np.clip(rng.normal(0.5 + 0.02 * number, 0.3, truth.shape), 0, 1)
        inter = (truth * hit).astype(np.int64)
        table = SampleTable.build(
            sample_id=[f"{k:05d}" for k in range(SAMPLES)],
            image_id=[f"{k * IMAGES // SAMPLES:05d}" for k in range(SAMPLES)],
            category=[f"category {k % 10}" for k in range(SAMPLES)],
            text=["the red ship to the left of the bridge"] * SAMPLES,
            height=[128] * SAMPLES,
            width=[128] * SAMPLES,
            views=[view.name for view in views(PROTOCOLS)],
            counts=np.stack([truth, inter + rng.integers(0, 400, truth.shape), inter], -1),
        )
        result = record.build_result(
            kind="retrained",
            method={"name": NAME, "variant": "base", "title": NAME, "venue": "none", "year": 2024, "encoders": "none"}
            | {"fidelity": "from-paper"},
            dataset={"name": "data-set", "split": "test", "source": "manifest", "content_hash": "0" * 64},
            samples=table,
            protocols=list(PROTOCOLS),
            selected_on="val",
            training={"seed": 0},
            efficiency={"parameters": 10**7, "trainable_parameters": 10**6 * (number + 1), "gflops": 1.5},
        )
        found.append((json_text(result), encode(table)))
    return found


def seal(text: str, old: str) -> str:
    """A result's text with the checksum of what now stands in it."""
    line = f'  "sha256": "{old}",\n'
    before, _, after = text.partition(line)
    new = hashlib.sha256((before + after).encode("utf-8")).hexdigest()
    return f'{before}  "sha256": "{new}",\n{after}'


def generate(root: Path, runs: int) -> None:
    """Fill `root/runs` with results of `METHODS` methods, `SEEDS` seeds each, on as many data sets as it takes."""
    made = [(text, text.rpartition('  "sha256": "')[2][:64], samples) for text, samples in originals()]
    for number in range(runs):
        seed, method, dataset = number % SEEDS, number // SEEDS % METHODS, number // (SEEDS * METHODS)
        text, old, samples = made[(7 * method + seed) % ORIGINALS]
        text = text.replace(NAME, f"m{method:03d}").replace('"name": "data-set"', f'"name": "set{dataset:03d}"')
        text = text.replace('"training": {\n    "seed": 0', f'"training": {{\n    "seed": {seed}')
        folder = root / "runs" / f"set{dataset:03d}" / f"m{method:03d}@base" / f"seed{seed}"
        folder.mkdir(parents=True)
        run = RunFolder(folder)
        run.result_path.write_text(seal(text, old), encoding="utf-8")
        run.samples_path.write_bytes(samples)


def measure(root: Path) -> tuple[float, int, list[str]]:
    """Seconds of building every page of every board, number of measured rows, and what was kept out."""
    start = time.perf_counter()
    _, boards, warnings = leaderboard.outputs(root)
    return time.perf_counter() - start, sum(board.measured for board in boards if board.layout == "scores"), warnings


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=10_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), runs)
        cpu = time.process_time()
        seconds, rows, warnings = measure(Path(folder))
        cpu = time.process_time() - cpu
        assert not warnings, warnings[0]
        print(f"{runs} results, {rows} rows: {seconds:.1f} s ({cpu:.1f} s of one core)")


if __name__ == "__main__":
    main()
