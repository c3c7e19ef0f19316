"""Memory and operations of a training step with and without activation checkpointing, at the published sizes.

Counted on tensors without values (`rrsis_bench/cost/memory.py`), so no GPU is needed: a forecast, not a measurement.

    python benchmarks/recompute.py [--methods lavt s4eca] [--batch-size 2]
"""

from __future__ import annotations

import argparse

from torch.optim import AdamW

from rrsis_bench import config, registry
from rrsis_bench.cost.memory import StepCost, step_cost
from rrsis_bench.methods.base import Method
from rrsis_bench.methods.build import method_class, overrides


def main() -> None:
    """Print one row per method."""
    able = [
        name for name in sorted(registry.method_targets()) if overrides(method_class(name), "checkpoint_activations")
    ]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=able, choices=able, metavar="NAME")
    parser.add_argument("--batch-size", type=int, default=2)
    args = parser.parse_args()
    print("| method | GiB | GiB with checkpointing | share | GFLOP a sample | with checkpointing | share |")
    print("|---|---|---|---|---|---|---|")
    for name in args.methods:
        variant = str(config.method_config(name)["published"])
        plain, saved = (cost(name, variant, args.batch_size, wanted) for wanted in (False, True))
        memory = [one.training_bytes / 2**30 for one in (plain, saved)]
        work = [one.training_flops / one.batch_size / 1e9 for one in (plain, saved)]
        print(
            f"| {name} ({variant}) | {memory[0]:.2f} | {memory[1]:.2f} | {memory[1] / memory[0]:.2f} | {work[0]:,.0f} "
            f"| {work[1]:,.0f} | {work[1] / work[0]:.2f} |",
            flush=True,
        )


def cost(name: str, variant: str, batch_size: int, checkpointing: bool) -> StepCost:
    """The cost of a step under bf16 autocast, with AdamW."""

    def build() -> Method:
        return method_class(name).from_options(config.variant_options(name, variant))

    def optimizer(method: Method) -> AdamW:
        return AdamW(method.param_groups(1e-4, 0.01))

    return step_cost(build, optimizer, batch_size, half=True, checkpointing=checkpointing)


if __name__ == "__main__":
    main()
