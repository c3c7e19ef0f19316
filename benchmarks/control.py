"""What the language control adds to the time of `rrsis-bench test`.

    python benchmarks/control.py [--method lavt] [--variant tiny] [--samples 3481] [--rounds 1]

makes a data set whose test split has one photograph of 480 px for each sample, trains the variant for one step, scores
it with each value of `data.control_samples`, and prints a Markdown table. A time is that of the whole verb `test` in
one process on one core, with loading and the result's files, after all imports; the best round counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from rrsis_bench.cli import main as rrsis_bench
from rrsis_bench.data.masks import encode
from rrsis_bench.files import write_text

SIDE = 480
CLASSES = 20
SIZES = ("none", "null", "full")
"""Values of `data.control_samples`; `null` is the default."""


def write_data(folder: Path, count: int) -> Path:
    """Write a data set: two samples to train on, one to select on, `count` to score. Returns its manifest."""
    rng, lines = np.random.default_rng(0), []
    for split, many in (("train", 2), ("val", 1), ("test", count)):
        for number in range(many):
            name = f"{split}{number}.jpg"
            coarse = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
            cv2.imwrite(str(folder / name), cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
            mask = np.zeros((SIDE, SIDE), np.uint8)
            top, left = rng.integers(0, SIDE - 90, 2)
            cv2.circle(mask, (int(left) + 45, int(top) + 45), 40, 1, -1)
            category = f"class {number % CLASSES}"
            text = f"the {category} number {number}"
            pair = {"image": name, "rle": encode(mask), "text": text, "category": category, "split": split}
            lines.append(json.dumps(pair))
    write_text(folder / "pairs.jsonl", "\n".join(lines) + "\n")
    return folder / "pairs.jsonl"


def run(*words: str) -> float:
    """Processor seconds of a verb; what it prints is dropped unless it fails."""
    said = io.StringIO()
    start = time.process_time()
    with contextlib.redirect_stdout(said):
        code = rrsis_bench(list(words))
    if code:
        raise SystemExit(said.getvalue())
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--method", default="lavt", help="a method that is trained (default: lavt)")
    parser.add_argument("--variant", default="tiny", help="default: tiny")
    parser.add_argument("--samples", type=int, default=3481, help="test samples (default: 3481, as RRSIS-D has)")
    parser.add_argument("--values", nargs="+", default=SIZES, choices=SIZES, help="after none (default: all)")
    parser.add_argument("--rounds", type=int, default=1, help="times each value is measured (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["RRSIS_CACHE"] = str(folder / "cache")
        manifest = write_data(folder, args.samples)
        quiet = ("--data.num_workers=0", "--trainer", "cpu", "--trainer.enable_progress_bar=false")
        chosen = ("--method", args.method, "--variant", args.variant, "--dataset", "own", f"--data.manifest={manifest}")
        fit = ("--trainer.max_epochs=1", "--model.schedule.warmup_steps=0", "--data.limit.test=2")
        run("fit", *chosen, *quiet, *fit, "--out", str(folder / "run"))
        test = ("test", "--run", str(folder / "run"), "--data.limit=null", "--overwrite", *quiet)
        sizes = list(dict.fromkeys(["none", *args.values]))
        found = dict.fromkeys(sizes, float("inf"))
        controlled = {}
        for _ in range(args.rounds):
            for size in sizes:
                found[size] = min(found[size], run(*test, f"--data.control_samples={size}"))
                result = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
                assert result["dataset"]["n_samples"] == args.samples
                controlled[size] = (result["language_control"] or {"n": 0})["n"]
    print(f"{args.method} ({args.variant}), {args.samples:,} test samples, one core, torch {torch.__version__}\n")
    print("| control_samples | samples controlled | s of `test` | against the score alone |\n|---|---|---|---|")
    for size in sizes:
        name = "default" if size == "null" else size
        print(f"| {name} | {controlled[size]:,} | {found[size]:.1f} | {found[size] / found['none']:.2f} |")


if __name__ == "__main__":
    main()
