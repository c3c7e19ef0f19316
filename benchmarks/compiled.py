"""What `torch.compile` costs and brings: `python benchmarks/compiled.py`, minutes for each network.

Prints the largest difference of the logits from the eager network's, which stays below 1e-3 in float32, the seconds of
compiling and the seconds of one image through the network alone, on random weights and one noise image.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rrsis_bench import config
from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.methods.build import build_method

LIMIT = 1e-3


def seconds(step: Callable[[], Tensor], repeats: int) -> float:
    """The shortest of some passes."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=["lavt", "rmsin", "fianet"], help="registered methods")
    parser.add_argument("--variant", default="base", help="their variant (default: base)")
    parser.add_argument("--repeats", type=int, default=4, help="passes timed (default: 4)")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {args.variant} variants\n")
    print(
        "| method | precision | eager, s | compiled, s | compiling, s | largest difference |\n|---|---|---|---|---|---|"
    )
    for name in args.methods:
        torch.manual_seed(0)
        method, _ = build_method(name, args.variant, config.variant_options(name, args.variant), pretrained=False)
        method.eval()
        batch = sample_batch(method, 1, "cpu")
        compiled = torch.compile(method)
        for label, half in (("float32", False), ("bf16 autocast", True)):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                before = method(batch).logits
                eager = seconds(lambda: method(batch).logits, args.repeats)  # noqa: B023
                start = time.perf_counter()
                after = compiled(batch).logits
                compiling = time.perf_counter() - start
                fast = seconds(lambda: compiled(batch).logits, args.repeats)  # noqa: B023
            difference = (after - before).abs().max().item()
            print(f"| {name} | {label} | {eager:.2f} | {fast:.2f} | {compiling:.0f} | {difference:.1e} |", flush=True)
            if not half and difference > LIMIT:
                raise SystemExit(f"{name}: compiling changes the logits by more than {LIMIT}")


if __name__ == "__main__":
    main()
