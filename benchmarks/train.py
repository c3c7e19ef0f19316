"""How fast the published networks train: forward pass, losses, backward pass and optimiser, beside a plain loop.

    python benchmarks/train.py [--methods lavt s4eca] [--variant NAME] [--batch-size 1] [--steps 3]

prints a Markdown table. Both rows of a method train the same network from the same random weights on the same made-up
samples, in a process of its own each, with one thread. The plain loop works as the papers' training scripts: attention
written out as products and a softmax (in windows by timm), maps enlarged before they are convolved, AdamW parameter by
parameter, and every loss read by the host. Ours is the suite's step: fused attention, convolutions at the small size
where the device gains by it, the fused optimiser, losses kept on the device. Random weights and dropout make the losses
of the rows differ by rounding alone: the table shows the first one.

Times are seconds of processor time of the best step after a first one that warms up; memory is the process's peak.
Without `--methods`, every published variant is measured whose step fits `--memory` gigabytes by forecast
(`rrsis_bench/cost/memory.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from own_process import measured, peak_bytes
from timm.models.swin_transformer import WindowAttention
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW

from rrsis_bench import config, registry
from rrsis_bench.cost.memory import training_bytes
from rrsis_bench.cost.profile import sample_batch
from rrsis_bench.engine.optim import OptimizerConfig, build_optimizer
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import method_class
from rrsis_bench.nn.layers.forms import as_published
from rrsis_bench.nn.layers.freezing import trainable

HOWS = ("plain loop", "rrsis-bench")
GOAL = 1.15
"""Least ratio that LAVT, RMSIN, FIANet, LGCE and DETRIS are to reach, in float32 on one core."""
GOAL_OF = ("lavt", "rmsin", "fianet", "lgce", "detris")
LR = 1e-5


def network(name: str, variant: str) -> Method:
    """A variant with random weights."""
    return method_class(name).from_options(config.variant_options(name, variant))


def step_bytes(name: str, variant: str, batch_size: int) -> float:
    """Forecast of a step's peak memory in float32."""
    return training_bytes(
        partial(network, name, variant), lambda method: AdamW(method.param_groups(LR, 0.01)), batch_size
    )


def measure(name: str, variant: str, batch_size: int, steps: int, how: str) -> dict[str, Any]:
    """Train for some steps.

    Returns:
        `seconds` of the best step, the `loss` of the first one, and the process's `peak` memory in bytes.
    """
    torch.manual_seed(0)
    method = network(name, variant).train()
    batch = sample_batch(method, batch_size, "cpu")
    groups = [group for group in method.param_groups(LR, 0.01) if len(group["params"]) > 0]
    plain = how == "plain loop"
    best, first = float("inf"), None
    with ExitStack() as ways:
        if plain:
            ways.enter_context(sdpa_kernel(SDPBackend.MATH))
            ways.enter_context(as_published())
            for module in method.modules():
                if isinstance(module, WindowAttention):
                    module.fused_attn, module.forward = False, partial(WindowAttention.forward, module)
        optimizer = (
            AdamW(groups, foreach=False, fused=False)
            if plain
            else build_optimizer(groups, OptimizerConfig(lr=LR, weight_decay=0.01), fused=True)
        )
        for number in range(steps + 1):
            torch.manual_seed(number)  # the same dropout in both rows
            start = time.process_time()
            loss = torch.stack(list(method.loss(method(batch), batch).values())).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if plain:
                loss.item()
            spent = time.process_time() - start
            first = float(loss) if first is None else first
            best = min(best, spent) if number else best
    return {"seconds": best, "loss": first, "peak": peak_bytes()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=sorted(registry.BUILT_IN), metavar="NAME", help="default: all")
    parser.add_argument("--variant", help="variant (default: the published one)")
    parser.add_argument("--batch-size", type=int, default=1, help="samples of a step (default: 1)")
    parser.add_argument("--steps", type=int, default=3, help="steps after the first, the best counts (default: 3)")
    parser.add_argument("--memory", type=float, default=24, help="gigabytes that a step may take (default: 24)")
    parser.add_argument("--row", choices=HOWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.row:
        print(json.dumps(measure(args.methods[0], args.variant, args.batch_size, args.steps, args.row)))
        return
    print(f"One core, float32, batch {args.batch_size}, torch {torch.__version__}\n")
    print("| method | how | s a step | ratio | goal | peak memory, GB | first loss |\n|---|---|---|---|---|---|---|")
    for name in args.methods or sorted(registry.BUILT_IN):
        variant = args.variant or str(config.method_config(name)["published"])
        with torch.device("meta"):
            learns = bool(trainable(network(name, variant).parameters()))
        if not learns:
            continue
        forecast = step_bytes(name, variant, args.batch_size) / 1e9
        if forecast > args.memory:
            print(f"| {name} ({variant}) | not run: {forecast:.0f} GB by forecast | | | | | |", flush=True)
            continue
        words = ("--variant", variant, "--batch-size", str(args.batch_size), "--steps", str(args.steps))
        rows = [measured(__file__, "--methods", name, *words, "--row", how) for how in HOWS]
        for how, row in zip(HOWS, rows, strict=True):
            published = name in GOAL_OF and variant == config.method_config(name)["published"]
            goal = f"{GOAL:.2f}" if published and how == HOWS[1] else ""
            print(
                f"| {name} ({variant}) | {how} | {row['seconds']:.3f} | {rows[0]['seconds'] / row['seconds']:.2f} | "
                f"{goal} | {row['peak'] / 1e9:.2f} | {row['loss']:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
