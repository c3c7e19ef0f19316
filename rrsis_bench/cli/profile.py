"""`rrsis-bench profile`: parameters, GFLOPs, latency and memory of a method."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rrsis_bench.cli._words import as_int, as_path
from rrsis_bench.kinds import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--method", help="registered name, such as s4eca")
    what.add_argument(
        "--run", nargs="+", type=as_path, metavar="DIR",
        help="finished runs: measure their networks and write latency and memory into their results",
    )  # fmt: skip
    parser.add_argument("--variant", help="the method's variant (default: the published one)")
    parser.add_argument("--meta", action="store_true", help="count parameters and GFLOPs only; allocate no memory")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--batch-size", type=as_int(whole(1)), default=8, help="batch size to measure throughput at (default: 8)"
    )
    parser.add_argument("--precision", choices=["32", "bf16", "16"], default="32", help="default: 32")
    parser.add_argument(
        "--warmup", type=as_int(whole(0)), default=10, help="passes before the measured ones (default: 10)"
    )
    parser.add_argument("--repeats", type=as_int(whole(1)), default=50, help="measured passes (default: 50)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.run:
        return _runs(args)
    from rrsis_bench import config, registry

    blocks = config.method_config(args.method)
    variant = config.choose_variant(args.method, blocks, {}, args.variant)
    options = config.variant_options(args.method, variant)

    import torch

    from rrsis_bench.cost.profile import efficiency
    from rrsis_bench.engine.device import pick_device
    from rrsis_bench.methods.build import build_method

    device = torch.device("meta") if args.meta else pick_device(args.device)
    with device:
        # Speed and size do not depend on the values of the weights.
        method, _ = build_method(args.method, variant, options, pretrained=False)
    report = efficiency(
        method,
        device,
        latency=not args.meta,
        batch_size=args.batch_size,
        precision=args.precision,
        warmup=args.warmup,
        repeats=args.repeats,
    )
    spec = method.input_spec
    report |= {"method": args.method, "variant": variant}
    encoders = registry.card(args.method).get("encoders") or ""
    if isinstance(encoders, dict):
        _name_encoders(report, str(encoders.get(variant, "")))
    elif variant == blocks.get("published"):
        _name_encoders(report, str(encoders))
    report |= {"image_size": list(spec.image_size), "max_tokens": spec.max_tokens, "flops_per_multiply_add": 2}
    print(json.dumps(report, indent=2, sort_keys=True)) if args.json else _print(report)
    return 0


def _runs(args: argparse.Namespace) -> int:
    from rrsis_bench.cost.remeasure import check, remeasure
    from rrsis_bench.engine.device import pick_device
    from rrsis_bench.errors import UsageError

    if args.meta or args.variant:
        raise UsageError("--run measures the run's own variant on a device: leave out --meta and --variant.")
    device = pick_device(args.device)
    settings = {key: getattr(args, key) for key in ("batch_size", "precision", "warmup", "repeats")}
    for folder in args.run:
        check(folder)
    blocks = {}
    for folder in args.run:
        blocks[str(folder)] = block = remeasure(folder, device, **settings)
        if not args.json:
            print(
                f"{folder}: latency p50 {block['latency_ms']:.2f} ms, p95 {block['latency_p95_ms']:.2f} ms, "
                f"{block['throughput']:.2f} samples/s, memory {_memory(block['memory_mb'])}"
            )
    if args.json:
        print(json.dumps(blocks, indent=2, sort_keys=True))
    return 0


def _name_encoders(report: dict[str, Any], card_entry: str) -> None:
    """Name the encoders as the card does: "A + B", the image encoder first."""
    names = card_entry.split(" + ")
    if len(names) == len(report["encoders"]):
        for row, name in zip(report["encoders"], names, strict=True):
            row["network"] = name


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=f"{report['method']} ({report['variant']}): parameters")
    table.add_column("part")
    for column in ("total", "trainable"):
        table.add_column(column, justify="right")
    for row in report["parts"]:
        table.add_row(row["part"], f"{row['parameters']:,}", f"{row['trainable_parameters']:,}")
    table.add_row("all", f"{report['parameters']:,}", f"{report['trainable_parameters']:,}", style="bold")
    console.print(table)
    for row in report["encoders"]:
        added = f", adapters {row['added_parameters']:,}" if row["added_parameters"] else ""
        line = f"{row['encoder']} encoder: {row['network']} {row['parameters']:,}{added}"
        console.print(line, soft_wrap=True)
    share = report["encoder_trainable_share"]
    if share is not None:
        added = sum(row["added_parameters"] for row in report["encoders"])
        what = "adapters" if added == report["encoder_trainable_parameters"] and added else "trainable in the encoders"
        console.print(
            f"{what} {report['encoder_trainable_parameters']:,} = {share:.2%} of the encoders "
            f"({report['encoder_parameters']:,} without adapters)",
            soft_wrap=True,
        )
    size = "x".join(map(str, report["image_size"]))
    console.print(
        f"GFLOPs {report['gflops']:,.2f} (one forward pass at {size}, {report['max_tokens']} tokens, text encoder "
        "included, multiply-add = 2)",
        soft_wrap=True,
    )
    if "latency_ms" not in report:
        return
    settings = f"{report['device']}, precision {report['precision']}, {report['repeats']} passes"
    console.print(
        f"latency at batch 1: p50 {report['latency_ms']:.2f} ms, p95 {report['latency_p95_ms']:.2f} ms ({settings})",
        soft_wrap=True,
    )
    console.print(f"throughput at batch {report['throughput_batch_size']}: {report['throughput']:.2f} samples/s")
    console.print(f"peak memory, inference at batch 1: {_memory(report['memory_mb'])}")
    console.print(
        f"peak memory, training at batch {report['throughput_batch_size']}: {_memory(report['training_memory_mb'])}"
    )


def _memory(mebibytes: float | None) -> str:
    return "not measured (only on CUDA)" if mebibytes is None else f"{mebibytes:,.0f} MiB"
